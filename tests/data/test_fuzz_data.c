/* Thousands of damaged files, the same ones on every run: readers refuse them or read what is left
 * within bounds, and never crash (built with sanitizers, never step outside). */
#include "data/pack.h"
#include "data/safetensors.h"
#include "tests/data/shards.h"

enum { ROUNDS = 3000 };

/* One to four changes: a flipped bit, a changed byte, a piece cut out, doubled, or overwritten. */
static void damage(unsigned char *bytes, size_t *size, uint64_t *random) {
    for (uint64_t changes = 1 + next_random(random) % 4; changes && *size > 64; changes--) {
        size_t at = next_random(random) % *size, length = 1 + next_random(random) % 32;
        if (length > *size - at) length = *size - at;
        switch (next_random(random) % 5) {
        case 0: bytes[at] ^= (unsigned char)(1u << next_random(random) % 8); break;
        case 1: bytes[at] = (unsigned char)next_random(random); break;
        case 2:
            memmove(bytes + at, bytes + at + length, *size - at - length);
            *size -= length;
            break;
        case 3:
            memmove(bytes + at + length, bytes + at, *size - at);
            *size += length;
            break;
        default: memmove(bytes + next_random(random) % (*size - length), bytes + at, length);
        }
    }
}

static unsigned char *copy_for_damage(const unsigned char *bytes, size_t size) {
    unsigned char *copy = malloc(size + 4 * 32);
    memcpy(copy, bytes, size);
    return copy;
}

/* A file with few data, so that most damage is done to its header. */
static void make_tensors(const char *path) {
    data_safetensors_writer *writer;
    char name[] = "block.0.weight";
    assert_ok(data_safetensors_create(&writer, path));
    assert_ok(data_safetensors_put_metadata(writer, "config", "{\"heads\": 2}"));
    for (int i = 0; i < 8; i++) {
        name[6] = (char)('0' + i);
        assert_ok(data_safetensors_declare(writer, name, (data_dtype)(i * 2), i % 4,
                                           (int64_t[]){2, i + 1, 1}));
    }
    for (int i = 0; i < 8; i++) {
        static const char values[512] = {1};
        int64_t elements = (i % 4 > 0 ? 2 : 1) * (i % 4 > 1 ? i + 1 : 1);
        name[6] = (char)('0' + i);
        assert_ok(data_safetensors_write(writer, name, values,
                                         (size_t)elements * data_dtype_bytes((data_dtype)(i * 2))));
    }
    assert_ok(data_safetensors_finish(writer, NULL, NULL));
    data_safetensors_writer_destroy(writer);
}

/* Touches every byte that the reader promises. */
static uint64_t touch_tensors(const data_safetensors *file) {
    uint64_t sum = 0;
    for (int64_t i = 0; i < data_safetensors_count(file); i++) {
        const data_tensor *tensor = &data_safetensors_tensors(file)[i];
        assert_int_equal(tensor->bytes, (size_t)tensor->elements * data_dtype_bytes(tensor->dtype));
        for (size_t k = 0; k < tensor->bytes; k++) sum += ((const unsigned char *)tensor->data)[k];
        for (int axis = 0; axis < tensor->rank; axis++) sum += (uint64_t)tensor->shape[axis];
        assert_ptr_equal(data_safetensors_find(file, tensor->name), tensor);
    }
    return sum;
}

static void test_damaged_tensors(void **state) {
    (void)state;
    make_tensors(in_folder("t"));
    size_t size;
    uint64_t random = 1, sum = 0;
    unsigned char *bytes = read_file(in_folder("t"), &size);
    int refused = 0;
    for (int round = 0; round < ROUNDS; round++) {
        size_t damaged_size = size;
        unsigned char *copy = copy_for_damage(bytes, size);
        damage(copy, &damaged_size, &random);
        write_file(in_folder("d"), copy, damaged_size);
        free(copy);
        data_safetensors *file;
        if (data_safetensors_open(&file, in_folder("d")) == KERN_OK)
            sum += touch_tensors(file);
        else
            refused++;
        data_safetensors_destroy(file);
    }
    free(bytes);
    assert_true(refused > ROUNDS / 2 && refused < ROUNDS && sum > 0);
}

/* Every damage to a shard is found: at the opening, or when the tokens are read. */
static void test_damaged_shards(void **state) {
    (void)state;
    make_shard(in_folder("s.h5"), data_vocabulary_byte(), 0, (int64_t[]){300, 1, 700, 0});
    size_t size;
    uint64_t random = 2;
    unsigned char *bytes = read_file(in_folder("s.h5"), &size);
    int late = 0;
    for (int round = 0; round < ROUNDS; round++) {
        size_t damaged_size = size;
        unsigned char *copy = copy_for_damage(bytes, size);
        damage(copy, &damaged_size, &random);
        bool same = damaged_size == size && !memcmp(copy, bytes, size);
        write_file(in_folder("d.h5"), copy, damaged_size);
        free(copy);
        data_shard *shard;
        data_pack_statistics found;
        kern_status status = data_shard_open(&shard, in_folder("d.h5"));
        if (status == KERN_OK) {
            status = data_pack_check(&found, shard);
            late += status != KERN_OK;
        }
        data_shard_destroy(shard);
        if (!same) assert_failure(status, KERN_ERR_DATA, "d.h5", NULL);
    }
    free(bytes);
    assert_true(late > 0);
}

/* Every single bit outside of the tokens, and of the tokens. */
static void test_every_flipped_bit_of_a_shard(void **state) {
    (void)state;
    make_shard(in_folder("s.h5"), data_vocabulary_byte(), 0, (int64_t[]){20, 9, 0});
    size_t size;
    unsigned char *bytes = read_file(in_folder("s.h5"), &size);
    FILE *file = fopen(in_folder("s.h5"), "r+b");
    for (size_t i = 0; i < size; i++) {
        unsigned char flipped = bytes[i] ^ (unsigned char)(1u << i % 8);
        assert_true(!fseek(file, (long)i, SEEK_SET) && fputc(flipped, file) != EOF);
        assert_int_equal(fflush(file), 0);
        data_shard *shard;
        data_pack_statistics found;
        kern_status status = data_shard_open(&shard, in_folder("s.h5"));
        if (status == KERN_OK) status = data_pack_check(&found, shard);
        data_shard_destroy(shard);
        if (status != KERN_ERR_DATA) fail_msg("byte %zu: status %d", i, status);
        assert_true(!fseek(file, (long)i, SEEK_SET) && fputc(bytes[i], file) != EOF);
    }
    fclose(file);
    data_shard *shard;
    assert_ok(data_shard_open(&shard, in_folder("s.h5")));
    data_shard_destroy(shard);
    free(bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_damaged_tensors),
        cmocka_unit_test(test_damaged_shards),
        cmocka_unit_test(test_every_flipped_bit_of_a_shard),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
