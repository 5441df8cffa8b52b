#include "scratch.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "checkpoint_fixture.h"
#include "train/history.h"

static void saved_is_loaded_exactly(void **state) {
    (void)state;
    model saved, loaded;
    train_state got;
    fill(&saved, 12);
    fill(&loaded, 0);
    save(&saved, 12);
    char *path = step_of(12);
    assert_ok(
        train_checkpoint_load(&got, path, &loaded.parameters, &loaded.moments, kern_comm_alone()));
    assert_memory_equal(saved.memory, loaded.memory, sizeof saved.memory);
    const train_state expected = state_of(12);
    assert_int_equal(got.step, expected.step);
    assert_int_equal(got.samples, expected.samples);
    assert_int_equal(got.tokens, expected.tokens);
    assert_true(got.seconds == expected.seconds);
    assert_int_equal(got.config_hash, expected.config_hash);

    fill(&loaded, 0); /* weights alone */
    assert_ok(train_checkpoint_load(&got, path, &loaded.parameters, NULL, kern_comm_alone()));
    const size_t half = sizeof saved.memory / 2;
    model untouched;
    fill(&untouched, 0);
    assert_memory_equal(saved.memory[0], loaded.memory[0], half);
    assert_memory_equal(untouched.memory[FIXTURE_TENSORS], loaded.memory[FIXTURE_TENSORS], half);
    free(path);
}

/* The weights alone, left in their file, which the checksum names. */
static void opened_holds_the_weights(void **state) {
    (void)state;
    model saved;
    train_state got;
    train_state_file files[TRAIN_STATE_FILES];
    data_safetensors *file;
    uint32_t crc = 0;
    fill(&saved, 12);
    save(&saved, 12);
    char *path = step_of(12), *numbers = train_text("%s/state.json", path);
    assert_ok(train_checkpoint_open(&file, &got, &crc, path, &saved.parameters));
    assert_ok(train_state_read(&got, files, numbers));
    assert_int_equal(got.step, 12);
    assert_int_equal(crc, files[TRAIN_STATE_MODEL].crc);
    assert_int_equal(data_safetensors_count(file), saved.parameters.count);
    for (int64_t i = 0; i < saved.parameters.count; i++) {
        const data_tensor *tensor = data_safetensors_find(file, saved.parameters.items[i].name);
        assert_non_null(tensor);
        assert_memory_equal(tensor->data, saved.parameters.items[i].data, tensor->bytes);
    }
    data_safetensors_destroy(file);
    free(numbers);
    free(path);
}

/* Each way in which a model can differ from the file: the message names the tensor (and both
 * shapes), and neither memory nor state changes. */
static void other_models_are_refused(void **state) {
    (void)state;
    model saved, other, before;
    fill(&saved, 3);
    save(&saved, 3);
    char *path = step_of(3);
    train_state got = state_of(99);
    for (int change = 0; change < 5; change++) {
        fill(&other, 0);
        train_tensor *tensor = &other.items[0][1];
        if (change == 0) tensor->name = "blocks.0.absent";
        if (change == 1) tensor->shape[0] = 3, tensor->shape[1] = 5;
        if (change == 2) tensor->dtype = KERN_I32;
        if (change == 3) other.parameters.count--;
        if (change == 4) other.items[1][0].shape[0] = 6; /* found only in the second file */
        before = other;
        assert_int_equal(
            train_checkpoint_load(&got, path, &other.parameters, &other.moments, kern_comm_alone()),
            KERN_ERR_CONFIG);
        assert_memory_equal(other.memory, before.memory, sizeof before.memory);
        assert_int_equal(got.step, 99);
        if (change == 4) continue;
        data_safetensors *file = (data_safetensors *)(void *)path;
        uint32_t crc = 7;
        assert_int_equal(train_checkpoint_open(&file, &got, &crc, path, &other.parameters),
                         KERN_ERR_CONFIG);
        assert_true(!file && crc == 7 && got.step == 99);
        static const char *const says[] = {"blocks.0.absent", "[3, 5]", "I32", "unexpected tensor",
                                           "[6]"};
        assert_says(says[change]);
        if (change == 1) assert_says("[5, 3]");
        if (change == 3) assert_says("z.scalar");
    }
    free(path);
}

static void expect_damaged(const char *path, const char *reason) {
    model loaded, before;
    train_state got = state_of(99);
    fill(&loaded, 0);
    before = loaded;
    kern_status status =
        train_checkpoint_load(&got, path, &loaded.parameters, &loaded.moments, kern_comm_alone());
    if (status != KERN_ERR_DATA) fail_msg("status %d: %s", (int)status, reason);
    assert_says(path);
    assert_memory_equal(loaded.memory, before.memory, sizeof before.memory);
    assert_int_equal(got.step, 99);
}

static void flip_every_bit(const char *path, const char *name, const char *bytes, size_t count) {
    FILE *file = fopen(name, "r+b");
    assert_non_null(file);
    setvbuf(file, NULL, _IONBF, 0);
    for (size_t bit = 0; bit < 8 * count; bit++) {
        long place = (long)(bit / 8);
        assert_int_equal(fseek(file, place, SEEK_SET), 0);
        assert_true(fputc((bytes[place] ^ 1 << bit % 8) & 255, file) != EOF);
        expect_damaged(path, name);
        assert_int_equal(fseek(file, place, SEEK_SET), 0);
        assert_true(fputc(bytes[place] & 255, file) != EOF);
    }
    fclose(file);
}

/* Every bit of every file, one after the other; every length shorter than it was; longer. */
static void every_flipped_bit_is_refused(void **state) {
    (void)state;
    model saved;
    train_state got;
    fill(&saved, 3);
    save(&saved, 3);
    char *path = step_of(3);
    static const char *const names[] = {"state.json", "model.safetensors", "optimizer.safetensors",
                                        "vocabulary.json"};
    for (int file = 0; file < 4; file++) {
        char *name = train_text("%s/%s", path, names[file]);
        size_t count;
        char *bytes = slurp(&count, name);
        flip_every_bit(path, name, bytes, count);
        assert_ok(train_checkpoint_verify(&got, path));
        assert_int_equal(truncate(name, (off_t)count + 1), 0);
        expect_damaged(path, names[file]);
        for (size_t length = count; length-- > 0;) {
            assert_int_equal(truncate(name, (off_t)length), 0);
            expect_damaged(path, names[file]);
            assert_says(file ? "were written" : "torn");
        }
        spill(name, bytes, count);
        free(bytes);
        free(name);
    }
    assert_ok(train_checkpoint_verify(&got, path));
    free(path);
}

/* The configuration is long: its first, middle and last byte stand for all of them. */
static void changed_configuration_is_refused(void **state) {
    (void)state;
    model saved;
    train_state got;
    fill(&saved, 3);
    save(&saved, 3);
    char *path = step_of(3), *name = train_text("%s/config.yaml", path);
    size_t count;
    char *bytes = slurp(&count, name);
    const size_t places[] = {0, count / 2, count - 1};
    for (int i = 0; i < 3; i++) {
        bytes[places[i]] ^= 4;
        spill(name, bytes, count);
        expect_damaged(path, name);
        assert_says("was changed");
        bytes[places[i]] ^= 4;
    }
    spill(name, bytes, count);
    assert_ok(train_checkpoint_verify(&got, path));
    free(bytes);
    free(name);
    free(path);
}

static void missing_file_is_named(void **state) {
    (void)state;
    model saved;
    train_state got;
    fill(&saved, 3);
    save(&saved, 3);
    char *path = step_of(3), *name = train_text("%s/optimizer.safetensors", path);
    assert_int_equal(unlink(name), 0);
    assert_int_equal(
        train_checkpoint_load(&got, path, &saved.parameters, &saved.moments, kern_comm_alone()),
        KERN_ERR_FILE);
    assert_says("optimizer.safetensors");
    free(name);
    free(path);
}

/* Files may grow to `limit` bytes in a child; whichever file is the first that does not fit, the
 * message names it, the earlier checkpoint is intact and nothing of the new one is left. */
static void full_disk_harms_nothing(void **state) {
    (void)state;
    model saved, loaded;
    train_state got;
    fill(&saved, 1);
    save(&saved, 1);
    char *first = step_of(1), *second = step_of(2);
    int failures = 0;
    for (rlim_t limit = 0; limit < 12000; limit += limit < 900 ? 37 : 500) {
        fflush(NULL);
        pid_t child = fork();
        if (!child) {
            struct rlimit sizes = {limit, limit};
            train_state at = state_of(2);
            signal(SIGXFSZ, SIG_IGN);
            if (setrlimit(RLIMIT_FSIZE, &sizes)) _exit(1);
            kern_status status =
                train_checkpoint_save(scratch, &at, &saved.parameters, &saved.moments,
                                      data_vocabulary_byte(), any_conf(), kern_comm_alone());
            if (status == KERN_OK) _exit(0);
            bool named = strstr(kern_error(), ".safetensors") ||
                         strstr(kern_error(), "config.yaml") || strstr(kern_error(), "state.json");
            _exit(status == KERN_ERR_FILE && named && strstr(kern_error(), scratch) ? 2 : 3);
        }
        int code;
        assert_int_equal(waitpid(child, &code, 0), child);
        assert_true(WIFEXITED(code));
        if (WEXITSTATUS(code) == 0) break;
        assert_int_equal(WEXITSTATUS(code), 2);
        failures++;
        char **names;
        int64_t count;
        assert_ok(train_list(&names, &count, scratch));
        assert_int_equal(count, 1);
        train_free_names(names, count);
        assert_ok(train_checkpoint_load(&got, first, &loaded_into(&loaded)->parameters,
                                        &loaded.moments, kern_comm_alone()));
        assert_memory_equal(saved.memory, loaded.memory, sizeof saved.memory);
    }
    assert_true(failures > 5);
    assert_ok(train_checkpoint_verify(&got, second));
    free(second);
    free(first);
}

/* A child checkpoints without end and is killed at a random moment; then the newest is complete,
 * holds what belongs to its step, and is at most one behind what the child reported as saved. */
static void killed_at_any_moment(void **state) {
    (void)state;
    uint64_t seed = 2024;
    int64_t step = 0, left_asides = 0;
    for (int trial = 0; trial < 20; trial++) {
        int ends[2], code;
        assert_int_equal(pipe(ends), 0);
        fflush(NULL);
        pid_t child = fork();
        if (!child) {
            alarm(60); /* no test that fails leaves it behind */
            close(ends[0]);
            for (int64_t i = step + 1;; i++) {
                model at;
                train_state now = state_of(i);
                fill(&at, i);
                if (train_checkpoint_save(scratch, &now, &at.parameters, &at.moments,
                                          data_vocabulary_byte(), any_conf(),
                                          kern_comm_alone()) != KERN_OK ||
                    train_history_prune(scratch, i, 2, 0) != KERN_OK ||
                    write(ends[1], &i, sizeof i) != sizeof i)
                    _exit(1);
            }
        }
        close(ends[1]);
        /* Half of the kills may hit the first save, however slow the disk; the others a later one.
         */
        int64_t reported = step, i;
        if (trial % 2 && read(ends[0], &i, sizeof i) == sizeof i) reported = i;
        nanosleep(&(struct timespec){0, (long)(next_random(&seed) % 60000) * 1000}, NULL);
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, &code, 0), child);
        assert_true(WIFSIGNALED(code));
        while (read(ends[0], &i, sizeof i) == sizeof i) reported = i;
        close(ends[0]);
        left_asides += count_names(".tmp");
        assert_ok(train_history_clean(scratch));
        assert_int_equal(count_names("."), 0);
        char *newest;
        assert_ok(train_history_latest(&newest, scratch));
        if (!newest) {
            assert_int_equal(reported, 0);
            continue;
        }
        model expected, loaded;
        train_state got;
        assert_ok(train_checkpoint_load(&got, newest, &loaded_into(&loaded)->parameters,
                                        &loaded.moments, kern_comm_alone()));
        assert_true(got.step == reported || got.step == reported + 1);
        fill(&expected, got.step);
        assert_memory_equal(expected.memory, loaded.memory, sizeof expected.memory);
        step = got.step;
        free(newest);
    }
    assert_true(step > 0);
    assert_true(left_asides > 0); /* or the kills came too late to show anything */
}

static void same_step_is_replaced(void **state) {
    (void)state;
    model saved, loaded;
    train_state got;
    fill(&saved, 5);
    save(&saved, 5);
    fill(&saved, 6);
    save(&saved, 5);
    char *path = step_of(5);
    assert_ok(train_checkpoint_load(&got, path, &loaded_into(&loaded)->parameters, &loaded.moments,
                                    kern_comm_alone()));
    assert_memory_equal(saved.memory, loaded.memory, sizeof saved.memory);
    assert_int_equal(count_names("step-"), 1);
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(saved_is_loaded_exactly),
        SCRATCH_TEST(opened_holds_the_weights),
        SCRATCH_TEST(other_models_are_refused),
        SCRATCH_TEST(every_flipped_bit_is_refused),
        SCRATCH_TEST(changed_configuration_is_refused),
        SCRATCH_TEST(missing_file_is_named),
        SCRATCH_TEST(full_disk_harms_nothing),
        SCRATCH_TEST(killed_at_any_moment),
        SCRATCH_TEST(same_step_is_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
