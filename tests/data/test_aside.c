/* What writing aside leaves of what had the name before: links, pipes and devices stay what they
 * are.
 */

#include "data/aside.h"
#include "tests/data/files.h"

static void put(const char *path, const char *text) {
    data_aside *file;
    assert_ok(data_aside_create(&file, path));
    assert_ok(data_aside_write(file, 0, text, strlen(text)));
    assert_ok(data_aside_commit(file));
    data_aside_destroy(file);
}

static void assert_holds(const char *path, const char *text) {
    size_t size;
    unsigned char *bytes = read_file(path, &size);
    assert_string_equal((char *)bytes, text);
    free(bytes);
}

static mode_t kind_of(const char *path) {
    struct stat about;
    assert_int_equal(lstat(path, &about), 0);
    return about.st_mode & S_IFMT;
}

static void test_file(void **state) {
    (void)state;
    put(in_folder("file"), "one");
    put(in_folder("file"), "two");
    assert_holds(in_folder("file"), "two");
    assert_false(exists(in_folder("file.partial")));
}

static void test_link(void **state) {
    (void)state;
    put(in_folder("real"), "one");
    assert_int_equal(symlink("real", in_folder("link")), 0);
    put(in_folder("link"), "two");
    assert_true(kind_of(in_folder("link")) == S_IFLNK);
    assert_holds(in_folder("real"), "two");
}

/* A link to a file that is not there yet makes that file, also over several links and folders. */
static void test_link_to_nothing(void **state) {
    (void)state;
    assert_int_equal(mkdir(in_folder("there"), 0700), 0);
    assert_int_equal(symlink("there/second", in_folder("first")), 0);
    assert_int_equal(symlink("../new", in_folder("there/second")), 0);
    put(in_folder("first"), "one");
    assert_true(kind_of(in_folder("first")) == S_IFLNK);
    assert_true(kind_of(in_folder("there/second")) == S_IFLNK);
    assert_true(kind_of(in_folder("new")) == S_IFREG);
    assert_holds(in_folder("new"), "one");
    put(in_folder("first"), "two");
    assert_holds(in_folder("new"), "two");
    assert_true(kind_of(in_folder("new")) == S_IFREG);
}

static void test_no_file(void **state) {
    (void)state;
    data_aside *file;
    assert_int_equal(mkfifo(in_folder("pipe"), 0600), 0);
    assert_int_equal(symlink("pipe", in_folder("way")), 0);
    const char *const paths[] = {in_folder("pipe"), in_folder("way")};
    for (int i = 0; i < 2; i++) {
        assert_failure(data_aside_create(&file, paths[i]), KERN_ERR_FILE, paths[i],
                       "a device or a pipe", NULL);
        assert_null(file);
    }
    assert_int_equal(mkdir(in_folder("folder"), 0700), 0);
    assert_failure(data_aside_create(&file, in_folder("folder")), KERN_ERR_FILE, "is a folder",
                   NULL);
    assert_failure(data_aside_create(&file, in_folder("nothing/")), KERN_ERR_FILE, "is a folder",
                   NULL);
    assert_null(file);
    assert_true(kind_of(in_folder("pipe")) == S_IFIFO);
    assert_true(kind_of(in_folder("way")) == S_IFLNK);
    assert_false(exists(in_folder("pipe.partial")));
}

/* Released: no descriptor and no lock; committed only where it is what was written. */
static void test_released(void **state) {
    (void)state;
    data_aside *file, *other;
    for (int taken = 0; taken < 2; taken++) {
        put(in_folder("late"), "old");
        assert_ok(data_aside_create(&file, in_folder("late")));
        assert_failure(data_aside_create(&other, in_folder("late")), KERN_ERR_FILE,
                       "another process is writing it", NULL);
        assert_ok(data_aside_write(file, 0, "new", 3));
        assert_ok(data_aside_release(file));
        assert_int_equal(data_aside_descriptor(file), -1);
        assert_holds(in_folder("late"), "old");
        if (taken) {
            assert_ok(data_aside_create(&other, in_folder("late")));
            assert_failure(data_aside_commit(file), KERN_ERR_FILE, "another process has begun",
                           NULL);
            data_aside_destroy(file);
            assert_true(exists(in_folder("late.partial"))); /* the other's */
            data_aside_destroy(other);
        } else {
            assert_ok(data_aside_commit(file));
            data_aside_destroy(file);
        }
        assert_holds(in_folder("late"), taken ? "old" : "new");
        assert_false(exists(in_folder("late.partial")));
    }
}

/* A file that only has the name of one that grows stays as it is; what a writer left is reused. */
static void test_names(void **state) {
    (void)state;
    data_aside *file;
    struct stat about;
    put(in_folder("mine.partial"), "mine");
    assert_failure(data_aside_create(&file, in_folder("mine")), KERN_ERR_FILE,
                   "mine.partial, and that is the name of a file that no writer left", NULL);
    assert_null(file);
    assert_holds(in_folder("mine.partial"), "mine");
    pid_t writer = fork();
    if (writer == 0)
        _exit(data_aside_create(&file, in_folder("left")) ||
              data_aside_write(file, 0, "half a te", 9));
    int how;
    assert_int_equal(waitpid(writer, &how, 0), writer);
    assert_int_equal(how, 0);
    assert_true(exists(in_folder("left.partial")));
    put(in_folder("left"), "whole");
    assert_holds(in_folder("left"), "whole");
    assert_false(exists(in_folder("left.partial")));
    assert_int_equal(stat(in_folder("left"), &about), 0);
    assert_int_equal(about.st_mode & 07000, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_link),
        cmocka_unit_test(test_link_to_nothing),
        cmocka_unit_test(test_no_file),
        cmocka_unit_test(test_released),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
