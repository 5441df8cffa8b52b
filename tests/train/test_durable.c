/* What a power cut needs and no killed process shows: a name is given only after what it names is
 * on the disk. This program's own fsync and rename stand before the C library's and keep a record.
 */
#include "scratch.h"

#include <errno.h>
#include <limits.h>
#include <sys/syscall.h>

#include "checkpoint_fixture.h"
#include "train/metrics.h"

static char record[64][2 * PATH_MAX];
static int records;
static const char *failing; /* fsync of a path that ends so fails */

static bool ends_with(const char *text, const char *suffix) {
    size_t length = strlen(text), wanted = strlen(suffix);
    return length >= wanted && !strcmp(text + length - wanted, suffix);
}

int fsync(int descriptor) {
    char link[64], path[PATH_MAX] = "";
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    if (readlink(link, path, sizeof path - 1) < 0) return -1;
    if (records < 64) snprintf(record[records++], sizeof record[0], "sync %s", path);
    if (failing && ends_with(path, failing)) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fsync, descriptor);
}

int rename(const char *from, const char *to) {
    if (records < 64) snprintf(record[records++], sizeof record[0], "name %s", to);
    return (int)syscall(SYS_renameat2, -100 /* AT_FDCWD */, from, -100, to, 0);
}

/* The place in the record of `what` followed by a path that ends with `end`, from `first` on. */
static int place_of(int first, const char *what, const char *end) {
    for (int i = first; i < records; i++)
        if (!strncmp(record[i], what, 4) && ends_with(record[i], end)) return i;
    fail_msg("no '%s ...%s' from %d on", what, end, first);
    return -1;
}

static void checkpoint_is_on_disk_before_its_name(void **state) {
    (void)state;
    model m;
    fill(&m, 4);
    records = 0;
    save(&m, 4);
    int named = place_of(0, "name", "/step-00000004");
    static const char *const files[] = {"model.safetensors", "optimizer.safetensors", "state.json",
                                        "vocabulary.json"};
    for (int i = 0; i < 4; i++) {
        char *partial = train_text("/step-00000004.tmp/%s.partial", files[i]);
        char *final = train_text("/step-00000004.tmp/%s", files[i]);
        int contents = place_of(0, "sync", partial), name = place_of(contents, "name", final);
        assert_true(place_of(name, "sync", "/step-00000004.tmp") < named);
        free(final);
        free(partial);
    }
    place_of(named, "sync", scratch); /* the parent, so that the new name lasts */
}

static void failing_sync_is_an_error(void **state) {
    (void)state;
    static const char *const places[] = {"/model.safetensors.partial",
                                         "/optimizer.safetensors.partial", "/state.json.partial",
                                         ".tmp"};
    model m;
    fill(&m, 4);
    save(&m, 4);
    for (int i = 0; i < 4; i++) {
        const train_state at = state_of(5);
        failing = places[i];
        kern_status status =
            train_checkpoint_save(scratch, &at, &m.parameters, &m.moments, data_vocabulary_byte(),
                                  any_conf(), kern_comm_alone());
        failing = NULL;
        assert_int_equal(status, KERN_ERR_FILE);
        assert_says(strerror(EIO));
        assert_int_equal(count_names(""), 1);
    }
    const train_state at = state_of(5); /* the parent: the name is there, but might not last */
    failing = scratch;
    kern_status status =
        train_checkpoint_save(scratch, &at, &m.parameters, &m.moments, data_vocabulary_byte(),
                              any_conf(), kern_comm_alone());
    failing = NULL;
    assert_int_equal(status, KERN_ERR_FILE);
    assert_says(strerror(EIO));
}

static void metrics_are_on_disk_when_told(void **state) {
    (void)state;
    train_metrics *metrics;
    char *path = train_text("%s/metrics.jsonl", scratch);
    static const char text[] = "{\"step\": 1}\n{\"step\": 2}\n";
    spill(path, text, sizeof text - 1);
    records = 0;
    assert_ok(train_metrics_open(&metrics, path, 1));
    int contents = place_of(0, "sync", "/metrics.jsonl.partial");
    int name = place_of(contents, "name", "/metrics.jsonl");
    place_of(name, "sync", scratch);
    records = 0;
    assert_ok(train_metrics_write(metrics, 1, 0, NULL));
    assert_int_equal(records, 0); /* a step must not wait for the disk */
    assert_ok(train_metrics_sync(metrics));
    place_of(0, "sync", "/metrics.jsonl");
    train_metrics_close(metrics);
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(checkpoint_is_on_disk_before_its_name),
        SCRATCH_TEST(failing_sync_is_an_error),
        SCRATCH_TEST(metrics_are_on_disk_when_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
