/* Sessions of tiny models, and states of theirs that say what no session would. */
#ifndef TESTS_SESSION_FIXTURE_H
#define TESTS_SESSION_FIXTURE_H

#include "tests/infer/tiny.h"

#include <stdio.h>
#include <unistd.h>

#include "data/checksum.h"
#include "data/safetensors.h"
#include "infer/session.h"

static inline infer_session *begin_session(const tiny *m, bool inner, int64_t limit) {
    infer_session *session;
    infer_session_spec spec = {
        .conf = m->conf, .inner = inner, .limit = limit, .device = test_device(), .threads = 1};
    omp_set_num_threads(1);
    assert_ok(infer_session_create(&session, &spec));
    infer_session_set_values(session, tiny_values(m));
    return session;
}

static inline void state_path(char path[64]) {
    snprintf(path, 64, "/tmp/test_session_%d.safetensors", (int)getpid());
}

static inline void refused(infer_session *session, const char *path, const char *identity,
                           kern_status expected, const char *named) {
    int64_t position = infer_session_position(session);
    assert_int_equal(infer_session_load(session, path, identity), expected);
    assert_non_null(strstr(kern_error(), named));
    assert_int_equal(infer_session_position(session), position);
}

/* What is to be otherwise in a state; NULL, and -1 for a waiting token: as it is. */
typedef struct {
    const char *format, *options, *text;
    int32_t token;
} forgery;

/* Writes the state again as `to`, otherwise, with a checksum that is right. */
static inline void forge(const char *to, const char *from, const forgery *otherwise) {
    static const char *const keys[] = {"format", "weights", "options", "text"};
    const char *const given[] = {otherwise->format, NULL, otherwise->options, otherwise->text};
    int32_t token = otherwise->token;
    data_safetensors *file;
    data_safetensors_writer *forged;
    char checksum[16];
    uint32_t crc = 0;
    assert_ok(data_safetensors_open(&file, from));
    assert_ok(data_safetensors_create(&forged, to));
    for (int i = 0; i < 4; i++) {
        const char *value = given[i] ? given[i] : data_safetensors_metadata(file, keys[i]);
        assert_ok(data_safetensors_put_metadata(forged, keys[i], value));
        crc = data_crc32(crc, value, strlen(value));
    }
    const data_tensor *tensor = data_safetensors_tensors(file);
    for (int64_t i = 0; i < data_safetensors_count(file); i++) {
        bool other = token >= 0 && !strcmp(tensor[i].name, "waiting");
        assert_ok(data_safetensors_declare(forged, tensor[i].name, tensor[i].dtype, tensor[i].rank,
                                           tensor[i].shape));
        crc = data_crc32(crc, other ? &token : tensor[i].data,
                         other ? sizeof token : tensor[i].bytes);
    }
    snprintf(checksum, sizeof checksum, "%08x", (unsigned)crc);
    assert_ok(data_safetensors_put_metadata(forged, "checksum", checksum));
    for (int64_t i = 0; i < data_safetensors_count(file); i++) {
        bool other = token >= 0 && !strcmp(tensor[i].name, "waiting");
        assert_ok(data_safetensors_write(forged, tensor[i].name, other ? &token : tensor[i].data,
                                         tensor[i].bytes));
    }
    assert_ok(data_safetensors_finish(forged, NULL, NULL));
    data_safetensors_writer_destroy(forged);
    data_safetensors_destroy(file);
}

#endif
