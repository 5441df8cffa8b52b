/* How the flat buffers are divided: each element of a layout is one rank's, what decays and what
 * does not is kept apart, and what is reduced in a turn is complete then. */
#include "tests/infer/tiny.h"
#include "train/shard.h"

/* Adds one to each element that a rank updates. */
static void mark(int *times, const train_shard *shard) {
    train_range range[TRAIN_RANGES];
    int64_t place = 0;
    int ranges = train_shard_ranges(range, shard);
    for (int i = 0; i < ranges; i++) {
        const train_range *r = &range[i];
        assert_true(r->elements > 0 && r->elements % INFER_ROW == 0);
        assert_int_equal(r->place, place);
        assert_true(r->decays ? r->first + r->elements <= shard->decaying
                              : r->first >= shard->decaying);
        place += r->elements;
        for (int64_t j = 0; j < r->elements; j++) times[r->first + j]++;
    }
    assert_int_equal(place, shard->elements);
}

static void check(const tiny *model, int ranks) {
    int suffix = (int)(model->conf->model.blocks - model->conf->inner.suffix);
    train_shard shard = train_shard_of(model->layout, suffix, 0, ranks, false);
    int *times = kern_array(shard.flat, sizeof *times);
    assert_true(shard.flat >= model->layout->elements);
    assert_true(shard.flat - model->layout->elements < ranks * INFER_ROW);
    for (int rank = 0; rank < ranks; rank++) {
        train_shard of = train_shard_of(model->layout, suffix, rank, ranks, false);
        assert_int_equal(of.elements * ranks, shard.flat);
        mark(times, &of);
    }
    for (int64_t i = 0; i < shard.flat; i++) assert_int_equal(times[i], 1);
    for (int i = 0; i < model->layout->count && ranks > 1; i++) {
        const infer_parameter *item = &model->layout->item[i];
        bool head = item->block < 0 && item->offset > 0;
        int last = train_shard_turn(&shard, item->offset + item->elements - 1);
        int turns = shard.turns;
        assert_true(train_shard_turn(&shard, item->offset) >= last || last > turns);
        assert_true(last > 0 || item->block >= suffix || head);
        if (last > 0 && last <= turns) assert_true(item->block >= turns - last);
    }
    free(times);
}

static void every_element_is_one_ranks(void **state) {
    (void)state;
    static const char *const models[] = {"", "model.vocab=700 model.mlp=400 model.blocks=4",
                                         "model.mlp=500 model.tied=false inner.suffix=1"};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        tiny model;
        tiny_begin(&model, models[i]);
        for (int ranks = 1; ranks <= 5; ranks++) check(&model, ranks);
        tiny_end(&model);
    }
}

/* So that the test above looks at something. */
static void large_models_have_all_pieces(void **state) {
    (void)state;
    tiny model;
    tiny_begin(&model, "model.vocab=700 model.mlp=400 model.blocks=4");
    train_shard shard = train_shard_of(model.layout, 2, 1, 2, false);
    assert_int_equal(shard.pieces, 5); /* the prefix has two */
    for (int i = 0; i < 4; i++) assert_true(shard.piece[i].share > 0);
    tiny_end(&model);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_element_is_one_ranks),
                                       cmocka_unit_test(large_models_have_all_pieces)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
