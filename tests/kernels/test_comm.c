/* What ranks do together: by one rank and by several, on the device's memory and on the host's.
 * Each rank's numbers are known to the test, so that what all have together is, too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "launch/ranks.h"
#include "tests/ranks.h"

enum { COUNT = 37 };

/* Element i of rank r. */
static double number(int64_t r, int64_t i) {
    return (double)((i * 7 + r * 5) % 11 - 4);
}

static double expected(int ranks, int64_t i, kern_reduction how) {
    double sum = number(0, i);
    for (int r = 1; r < ranks; r++) {
        double other = number(r, i);
        sum = how == KERN_SUM ? sum + other : (how == KERN_MAX) == (other > sum) ? other : sum;
    }
    return sum;
}

/* A buffer of the rank's device: the first rows * COUNT elements of rank r. */
static kern_buffer filled(const kern_device *device, kern_dtype dtype, int64_t rows, int r) {
    size_t bytes = (size_t)(rows * COUNT) * kern_dtype_bytes(dtype);
    kern_buffer buffer = {0};
    void *host = malloc(bytes);
    ASSERT(host && kern_buffer_create(&buffer, device, bytes, "numbers") == KERN_OK);
    for (int64_t i = 0; i < rows * COUNT; i++) ranks_put(host, (int)dtype, i, number(r, i));
    kern_upload(device, buffer.data, host, bytes);
    free(host);
    return buffer;
}

static void check(kern_buffer buffer, kern_dtype dtype, int64_t count, double (*is)(int, int64_t),
                  int ranks, int64_t from) {
    void *host = malloc(buffer.bytes);
    ASSERT(host && kern_download(buffer.device, host, buffer.data, buffer.bytes) == KERN_OK);
    for (int64_t i = 0; i < count; i++)
        ASSERT(ranks_number(host, (int)dtype, i) == is(ranks, from + i));
    free(host);
}

static double the_sum(int ranks, int64_t i) {
    return expected(ranks, i, KERN_SUM);
}
static double the_largest(int ranks, int64_t i) {
    return expected(ranks, i, KERN_MAX);
}
static double the_least(int ranks, int64_t i) {
    return expected(ranks, i, KERN_MIN);
}
static double the_rows(int ranks, int64_t i) {
    (void)ranks;
    return number(i / COUNT, i % COUNT);
}
static double the_last(int ranks, int64_t i) {
    return number(ranks - 1, i);
}

static void on_the_device(const kern_comm *comm, const kern_device *device, void *context) {
    static const kern_dtype dtypes[] = {KERN_F32, KERN_F64, KERN_BF16, KERN_I32};
    (void)context;
    kern_stream *stream = device->stream;
    for (size_t d = 0; d < sizeof dtypes / sizeof *dtypes; d++) {
        kern_dtype dtype = dtypes[d];
        size_t row = COUNT * kern_dtype_bytes(dtype);
        kern_buffer own = filled(device, dtype, 1, comm->rank), to = filled(device, dtype, 1, 9);
        kern_buffer rows = filled(device, dtype, comm->ranks, comm->rank);
        comm->reduce(comm, stream, to.data, own.data, COUNT, dtype, KERN_SUM);
        check(to, dtype, COUNT, the_sum, comm->ranks, 0);
        comm->reduce(comm, stream, to.data, own.data, COUNT, dtype, KERN_MAX);
        check(to, dtype, COUNT, the_largest, comm->ranks, 0);
        comm->reduce_scatter(comm, stream, to.data, rows.data, COUNT, dtype, KERN_SUM);
        check(to, dtype, COUNT, the_sum, comm->ranks, (int64_t)comm->rank * COUNT);
        comm->all_gather(comm, stream, rows.data, own.data, row);
        check(rows, dtype, comm->ranks * COUNT, the_rows, comm->ranks, 0);
        comm->all_gather(comm, stream, rows.data, (char *)rows.data + (size_t)comm->rank * row,
                         row);
        check(rows, dtype, comm->ranks * COUNT, the_rows, comm->ranks, 0);
        kern_buffer_destroy(&to);
        to = filled(device, dtype, 1, comm->rank);
        comm->broadcast(comm, stream, to.data, row, comm->ranks - 1);
        check(to, dtype, COUNT, the_last, comm->ranks, 0);
        comm->reduce(comm, stream, own.data, own.data, COUNT, dtype, KERN_MIN);
        check(own, dtype, COUNT, the_least, comm->ranks, 0);
        kern_buffer_destroy(&own);
        kern_buffer_destroy(&to);
        kern_buffer_destroy(&rows);
    }
}

/* ---- more than ranks exchange at once ---- */

enum {
    TURNS = 4,
    PIECES = 300001 /* three of f32 */,
    ROWS = 140001 /* of which each rank has one */
};

/* Small whole numbers, others in each turn: what an earlier one has left is not right by chance. */
static int32_t many(int64_t r, int64_t i, int64_t turn) {
    return (int32_t)((i * 31 + r * 7 + turn * 13) % 509);
}

static kern_buffer many_of(const kern_device *device, int64_t count, int64_t r, int64_t turn) {
    kern_buffer buffer = {0};
    int32_t *host = malloc((size_t)count * sizeof *host);
    ASSERT(host &&
           kern_buffer_create(&buffer, device, (size_t)count * sizeof *host, "numbers") == KERN_OK);
    for (int64_t i = 0; i < count; i++) host[i] = many(r, i, turn);
    kern_upload(device, buffer.data, host, buffer.bytes);
    free(host);
    return buffer;
}

/* Elements from + i, i < count, are the sums over `ranks` ranks; or those of rank `of`. */
static void check_many(kern_buffer buffer, int64_t count, int64_t from, int ranks, int of,
                       int64_t turn) {
    int32_t *host = malloc(buffer.bytes);
    ASSERT(host && kern_download(buffer.device, host, buffer.data, buffer.bytes) == KERN_OK);
    for (int64_t i = 0; i < count; i++) {
        int32_t right = of < 0 ? 0 : many(of, from + i, turn);
        for (int r = 0; r < ranks && of < 0; r++) right += many(r, from + i, turn);
        ASSERT(host[i] == right);
    }
    free(host);
}

/* On either stream in turn. */
static void in_pieces(const kern_comm *comm, const kern_device *device) {
    int ranks = comm->ranks, rank = comm->rank;
    for (int64_t turn = 0; turn < TURNS; turn++) {
        kern_stream *stream = turn % 2 ? device->beside : device->stream;
        static const int64_t counts[] = {1025, 131072, PIECES};
        for (int c = 0; c < 3; c++) {
            kern_buffer own = many_of(device, counts[c], rank, turn);
            device->order(device->beside, device->stream);
            comm->reduce(comm, stream, own.data, own.data, counts[c], KERN_I32, KERN_SUM);
            device->order(device->stream, device->beside);
            check_many(own, counts[c], 0, ranks, -1, turn);
            kern_buffer_destroy(&own);
        }
        kern_buffer rows = many_of(device, (int64_t)ranks * ROWS, rank, turn);
        kern_buffer row = many_of(device, ROWS, 99, turn);
        kern_buffer place = {device, (char *)rows.data + (size_t)rank * row.bytes, row.bytes};
        device->order(device->beside, device->stream);
        comm->reduce_scatter(comm, stream, row.data, rows.data, ROWS, KERN_I32, KERN_SUM);
        comm->reduce_scatter(comm, stream, place.data, rows.data, ROWS, KERN_I32, KERN_SUM);
        device->order(device->stream, device->beside);
        check_many(row, ROWS, (int64_t)rank * ROWS, ranks, -1, turn);
        check_many(place, ROWS, (int64_t)rank * ROWS, ranks, -1, turn);
        kern_buffer_destroy(&row);
        row = many_of(device, ROWS, rank, turn);
        device->order(device->beside, device->stream);
        comm->all_gather(comm, stream, rows.data, row.data, row.bytes);
        device->order(device->stream, device->beside);
        for (int r = 0; r < ranks; r++) {
            kern_buffer part = {device, (char *)rows.data + (size_t)r * row.bytes, row.bytes};
            check_many(part, ROWS, 0, ranks, r, turn);
        }
        comm->broadcast(comm, device->stream, row.data, row.bytes, (int)turn % ranks);
        check_many(row, ROWS, 0, ranks, (int)turn % ranks, turn);
        kern_buffer_destroy(&row);
        kern_buffer_destroy(&rows);
    }
}

static void on_the_host(const kern_comm *comm, const kern_device *device, void *context) {
    (void)device, (void)context;
    double real[COUNT];
    int64_t whole[2] = {INT64_MAX - comm->rank, comm->rank};
    for (int i = 0; i < COUNT; i++) real[i] = number(comm->rank, i);
    ASSERT(comm->agree_f64(comm, real, COUNT, KERN_SUM) == KERN_OK);
    for (int i = 0; i < COUNT; i++) ASSERT(real[i] == the_sum(comm->ranks, i));
    ASSERT(comm->agree_i64(comm, whole, 2, KERN_MIN) == KERN_OK);
    ASSERT(whole[0] == INT64_MAX - (comm->ranks - 1) && whole[1] == 0); /* no bit is lost */
    char name[8] = "rank x";
    name[5] = (char)('0' + comm->rank);
    ASSERT(comm->tell(comm, name, sizeof name, comm->ranks - 1) == KERN_OK);
    ASSERT(name[5] == '0' + comm->ranks - 1);
}

/* What the last rank gives differs. */
typedef struct {
    const char *text[2];
    kern_status status;
    char message[400];
} given;

static void give(const kern_comm *comm, const kern_device *device, void *context) {
    given *own = context;
    (void)device;
    own->status = kern_comm_same(comm, own->text[comm->rank == comm->ranks - 1]);
    snprintf(own->message, sizeof own->message, "%s", kern_error());
}

static void what_differs_is_told(void **state) {
    (void)state;
    static const struct {
        const char *first, *last, *message;
    } tried[] = {
        {"a: 1\nb: 2\n", "a: 1\nb: 2\n", NULL},
        {"a: 1\nb: 2\n", "a: 1\nb: 3\n", "ranks differ: b: 3 on rank 2 ("},
        {"a: 1\nb: 2\n", "a: 1\nb: 3\n", "), but b: 2 on rank 0 ("},
        {"a: 1\n", "a: 1\nb: 2\n", "ranks differ: b: 2 on rank 2 ("},
        {"a: 1\nb: 2\n", "a: 1\n", "ranks differ: nothing on rank 2 ("},
    };
    for (size_t i = 0; i < sizeof tried / sizeof *tried; i++) {
        given of[3];
        for (int r = 0; r < 3; r++) of[r] = (given){.text = {tried[i].first, tried[i].last}};
        ranks_run(3, give, of, sizeof *of);
        for (int r = 0; r < 3; r++) {
            assert_int_equal(of[r].status, tried[i].message ? KERN_ERR_RANKS : KERN_OK);
            if (tried[i].message) assert_non_null(strstr(of[r].message, tried[i].message));
        }
    }
    assert_int_equal(kern_comm_same(kern_comm_alone(), "a: 1\n"), KERN_OK);
}

static void ranks_have_the_same(void **state) {
    (void)state;
    const kern_comm *alone = kern_comm_alone();
    kern_comm checked = kern_comm_check(alone);
    on_the_device(alone, test_device(), NULL);
    on_the_host(alone, test_device(), NULL);
    if (!test_device()->host) on_the_device(&checked, test_device(), NULL);
    for (int ranks = 1; ranks <= 3; ranks++) {
        ranks_run(ranks, on_the_device, NULL, 0);
        ranks_run(ranks, on_the_host, NULL, 0);
    }
}

/* What a rank was told, by what it did. */
typedef struct {
    kern_status status;
    char text[256];
} outcome;

static void mix_up(const kern_comm *comm, const kern_device *device, void *context) {
    outcome *own = context;
    kern_buffer buffer = filled(device, KERN_F32, 1, 0);
    comm->reduce(comm, device->stream, buffer.data, buffer.data, COUNT - comm->rank, KERN_F32,
                 KERN_SUM);
    own->status = kern_finish(device->stream);
    snprintf(own->text, sizeof own->text, "%s", kern_error());
    kern_buffer_destroy(&buffer);
}

static void leave(const kern_comm *comm, const kern_device *device, void *context) {
    outcome *own = context;
    kern_buffer buffer = filled(device, KERN_F32, 1, 0);
    if (comm->rank) comm->broadcast(comm, device->stream, buffer.data, buffer.bytes, 0);
    own->status = kern_finish(device->stream);
    snprintf(own->text, sizeof own->text, "%s", kern_error());
    kern_buffer_destroy(&buffer);
}

static void what_does_not_match_is_told(void **state) {
    (void)state;
    outcome of[2];
    ranks_run(2, mix_up, of, sizeof *of);
    for (int r = 0; r < 2; r++) {
        assert_int_equal(of[r].status, KERN_ERR_GRAPH);
        assert_string_equal(of[r].text,
                            "rank 0 calls reduce sum of 37 and rank 1 reduce sum of 36");
    }
    ranks_run(2, leave, of, sizeof *of);
    assert_int_equal(of[0].status, KERN_OK);
    assert_int_equal(of[1].status, KERN_ERR_GRAPH);
    assert_string_equal(of[1].text, "rank 1: another rank does not come to broadcast");
}

/* The same of a job of processes: of all of them, and of each axis of its meshes. */
static void processes_have_the_same(void **state) {
    (void)state;
    int count = launch_ranks_count();
    for (int tensor = 1; tensor <= count; tensor++) {
        const kern_ranks *ranks;
        if (count % tensor) continue;
        assert_int_equal(launch_ranks_open(&ranks, test_device(), tensor), KERN_OK);
        const kern_comm *const axes[] = {ranks->job, ranks->data, ranks->tensor};
        assert_int_equal(ranks->job->rank, launch_ranks_rank());
        assert_int_equal(ranks->job->ranks, count);
        assert_int_equal(ranks->tensor->ranks, tensor);
        assert_int_equal(ranks->job->rank,
                         ranks->data->rank * ranks->tensor->ranks + ranks->tensor->rank);
        for (int i = 0; i < 3; i++) {
            on_the_device(axes[i], test_device(), NULL);
            in_pieces(axes[i], test_device());
            on_the_host(axes[i], test_device(), NULL);
        }
        launch_ranks_close(ranks);
    }
}

static int of_processes(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(processes_have_the_same),
    };
    return launch_ranks_end(cmocka_run_group_tests(tests, NULL, NULL));
}

int main(void) {
    if (launch_ranks_begin() != KERN_OK) {
        fprintf(stderr, "%s\n", kern_error());
        return launch_ranks_end(1);
    }
    if (launch_ranks_count() > 1) return of_processes();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_have_the_same),
        cmocka_unit_test(what_does_not_match_is_told),
        cmocka_unit_test(what_differs_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
