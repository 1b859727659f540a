/* Quotas and cells: balance, planning, closing what is dry. */
#include "../support/chat_script.h"
#include "synth/bins.h"
#include "synth/grid.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct task task;
static struct grid grid;

static int set_up(void **state) {
    (void)state;
    return chat_script_task(&task, NULL) < 0 ? -1 : grid_init(&grid, &task, 101, NULL);
}

static int tear_down(void **state) {
    (void)state;
    grid_release(&grid);
    task_release(&task);
    return 0;
}

static void cells_are_labels_times_hints(void **state) {
    (void)state;
    assert_int_equal(grid.n_labels, 2);
    assert_int_equal(grid.labels[0].quota, 51); /* 101 rounded up to an even number */
    assert_int_equal(grid.labels[1].quota, 51);
    assert_int_equal(grid.n_cells, 2 * (1 + (3 + 1) + (2 + 2) + 2)); /* with strips beside 7 and 0.80 */
    static const char *const names[] = {"suspicious",
                                        "suspicious with delay from 0 to 1",
                                        "suspicious with delay from 7 to 60",
                                        "suspicious with approved share from 0.80 to 1.00",
                                        "suspicious with approved share from 0.80 to 0.83",
                                        "normal with visit type emergency"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_true(grid_cell_find(&grid, names[i]) >= 0);
    int64_t shares = 0;
    for (int i = 0; i < grid.n_cells; i++)
        shares += grid.cells[i].share;
    assert_int_equal(shares, 102);
    assert_int_equal(grid_cell_find(&grid, "nothing"), -1);
    assert_int_equal(grid_cell_find(&grid, NULL), -1);
}

/* Ranges are cut where the definitions cut them, whichever side the threshold itself is on; other fields into thirds. */
static void bins_follow_the_thresholds(void **state) {
    (void)state;
    static const struct {
        const char *definition;
        double lows[BINS_MAX]; /* of the regions */
        int n, n_strips;
        bool decisive;
    } cases[] = {
        {"the delay is under 10 days", {0, 10}, 2, 2, true},
        {"the delay is at most 10", {0, 11}, 2, 2, true},
        {"the delay is at least 10 or the delay is over 29", {0, 10, 30}, 3, 4, true},
        {"the delay is over 10, or over 20 and the approved share is under 30", {0, 11, 21}, 3, 4, true},
        {"the delay is under 0", {0, 20, 40}, 3, 0, false},
        {"the delayed is under 10", {0, 20, 40}, 3, 0, false},
        {"the approved share is under 10", {0, 20, 40}, 3, 0, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct protocol_hint bins[BINS_MAX];
        bool decisive;
        task.labels[0].definition = cases[i].definition;
        assert_int_equal(bins_of(&task, 0, bins, &decisive), cases[i].n + cases[i].n_strips);
        assert_int_equal(decisive, cases[i].decisive);
        for (int k = 0; k < cases[i].n; k++) {
            assert_true(bins[k].low == cases[i].lows[k]);
            if (decisive)
                assert_true(bins[k].high == (k + 1 < cases[i].n ? cases[i].lows[k + 1] - 1 : 60));
        }
    }
}

/* A cut lies between the labels that name it and "otherwise"; a category, where its values are named; else anywhere. */
static void boundaries_are_where_labels_meet(void **state) {
    (void)state;
    struct task_label three[] = {{"early", "the delay is under 2"},
                                 {"due", "the delay is from 2 to 6 and the visit type is emergency"},
                                 {"late", "otherwise"}};
    struct boundary b[BOUNDARIES_MAX];
    struct task_label *two = task.labels;
    assert_int_equal(boundaries_of(&task, b), 3); /* delay at 2 and at 7, share at 0.80 */
    assert_true(b[0].first == 0 && b[0].second == 1 && b[0].at.low == 0 && b[0].at.high == 4);
    assert_true(b[1].at.low == 4 && b[1].at.high == 9);
    assert_true(b[2].at.field == 1 && fabs(b[2].at.low - 0.76) < 1e-9 && fabs(b[2].at.high - 0.83) < 1e-9);
    task.labels = three;
    task.n_labels = 3;
    int n = boundaries_of(&task, b), between[3] = {0}, by_type = 0;
    for (int i = 0; i < n; i++) {
        between[b[i].first + b[i].second - 1] +=
            b[i].at.field == 0; /* 0: early and due, 1: early and late, 2: due and late */
        by_type += b[i].at.field == 2 && b[i].first == 1 && b[i].second == 2;
    }
    assert_true(between[0] >= 1 && between[1] >= 1 && between[2] >= 1);
    assert_int_equal(by_type, 1);
    two[0].definition = "it looks odd";
    task.labels = two;
    task.n_labels = 2;
    assert_int_equal(boundaries_of(&task, b), 1);
    assert_int_equal(b[0].at.field, -1);
}

static void pairs_get_a_quarter_and_need_two_labels_that_are_short(void **state) {
    (void)state;
    int64_t calls[64], shares = 0, of_pairs = 0;
    int n_pairs = 0, n_asked = 0;
    int before = grid.n_cells;
    assert_true(grid_pairs_share(&grid) == 0);
    assert_int_equal(grid_add_pairs(&grid, &task, NULL), 0);
    assert_true(grid_pairs_share(&grid) == 0.25);
    assert_true(grid_cell_find(&grid, "suspicious beside normal with delay from 4 to 9") >= before);
    grid_plan(&grid, 4, INT64_MAX, calls);
    for (int i = 0; i < grid.n_cells; i++) {
        bool pair = grid.cells[i].other >= 0;
        assert_int_equal(pair, i >= before);
        n_pairs += pair;
        n_asked += pair && calls[i] > 0;
        shares += grid.cells[i].share;
        of_pairs += pair ? grid.cells[i].share : 0;
        assert_int_equal(grid_per_call(&grid.cells[i], 5), pair ? 4 : 5);
        assert_int_equal(grid_per_call(&grid.cells[i], 1), pair ? 2 : 1);
    }
    assert_int_equal(n_pairs, 3);
    assert_int_equal(n_asked, 3);
    assert_int_equal(of_pairs, 24); /* of 102: a quarter of each label's 51 */
    assert_in_range(shares, 102 - 6, 102 + 24);
    grid.labels[0].accepted = grid.labels[0].quota;
    assert_true(grid_plan(&grid, 4, INT64_MAX, calls) > 0);
    for (int i = before; i < grid.n_cells; i++)
        assert_int_equal(calls[i], 0);
}

static void corners_that_decide_get_half_of_the_quota(void **state) {
    (void)state;
    int64_t decisive = 0, other = 0;
    for (int i = 0; i < grid.n_cells; i++)
        if (grid.cells[i].label == 0)
            *(grid.cells[i].hint.field == 0 || grid.cells[i].hint.field == 1 ? &decisive : &other) +=
                grid.cells[i].share;
    assert_int_equal(decisive + other, 51);
    assert_true(decisive > 2 * other);
    assert_true(other >= 3); /* the cell without a hint and the visit types are not forgotten */
}

static void a_plan_asks_for_what_is_missing(void **state) {
    (void)state;
    int64_t calls[64], n = grid_plan(&grid, 4, INT64_MAX, calls), sum = 0;
    for (int i = 0; i < grid.n_cells; i++) {
        assert_true(calls[i] >= 1);
        sum += calls[i];
    }
    assert_int_equal(n, sum);
    assert_in_range(n, 2 * 51 / 4, 2 * 51 / 2); /* a yield of 0.8 is expected at first */
    assert_int_equal(grid_plan(&grid, 4, 5, calls), 5);
    grid.labels[0].accepted = 51;
    n = grid_plan(&grid, 4, INT64_MAX, calls);
    for (int i = 0; i < grid.n_cells; i++)
        assert_true(grid.cells[i].label == 1 || calls[i] == 0);
    grid.labels[1].accepted = 60;
    assert_int_equal(grid_missing(&grid, 1), 0);
    assert_int_equal(grid_plan(&grid, 4, INT64_MAX, calls), 0);
    assert_int_equal(grid_missing_all(&grid), 0);
}

static void poor_cells_are_asked_more(void **state) {
    (void)state;
    int64_t before[64], after[64];
    grid_plan(&grid, 4, INT64_MAX, before);
    for (int i = 0; i < grid.n_cells; i++)
        if (grid.cells[i].label == 0)
            grid.cells[i].written = 40, grid.cells[i].accepted = 4;
    grid_plan(&grid, 4, INT64_MAX, after);
    int64_t sum_before = 0, sum_after = 0;
    for (int i = 0; i < grid.n_cells / 2; i++) {
        sum_before += before[i];
        sum_after += after[i];
    }
    assert_true(sum_after > 2 * sum_before);
    assert_true(grid_yield(&grid, 0) < grid_yield(&grid, 1));
}

static void dry_cells_close_and_others_take_over(void **state) {
    (void)state;
    int64_t calls[64];
    int far = grid_cell_find(&grid, "suspicious with delay from 7 to 60");
    grid.cells[far].dry = grid.cells[far].written = 24;
    grid_close_dry(&grid);
    assert_true(grid.cells[far].closed);
    assert_true(grid_plan(&grid, 4, INT64_MAX, calls) > 0);
    assert_int_equal(calls[far], 0);
    assert_int_equal(grid_stuck_label(&grid), -1);
    for (int i = 0; i < grid.n_cells; i++)
        if (grid.cells[i].label == 0)
            grid.cells[i].dry = 1000;
    grid_close_dry(&grid);
    assert_int_equal(grid_stuck_label(&grid), 0);
    grid.labels[0].accepted = 51; /* full: nothing is stuck */
    assert_int_equal(grid_stuck_label(&grid), -1);
}

int main(void) {
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(cells_are_labels_times_hints),
        CASE(bins_follow_the_thresholds),
        CASE(boundaries_are_where_labels_meet),
        CASE(pairs_get_a_quarter_and_need_two_labels_that_are_short),
        CASE(corners_that_decide_get_half_of_the_quota),
        CASE(a_plan_asks_for_what_is_missing),
        CASE(poor_cells_are_asked_more),
        CASE(dry_cells_close_and_others_take_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
