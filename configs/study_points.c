/* The points of a study: its axes multiplied out, named, left out or checked. */
#include "configs/study.h"

#include "configs/options.h"
#include "configs/reader.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static kern_status apply(ttt_conf *conf, const conf_settings *settings) {
    kern_status status = KERN_OK;
    for (int64_t i = 0; i < settings->count; i++) {
        const conf_setting *s = &settings->item[i];
        const conf_option *option = conf_option_find(s->key);
        if (option) TRY(conf_option_set(conf, option, s->value)); /* else it is `base` */
    }
done:
    return status;
}

kern_status conf_study_base(ttt_conf **conf, const conf_study *study) {
    kern_status status = conf_load(conf, study->base, 0, NULL);
    if (status != KERN_OK) return kern_fail_context(status, "base of study %s", study->name);
    status = apply(*conf, &study->common);
    if (status == KERN_OK) status = conf_check(*conf);
    if (status == KERN_OK) return KERN_OK;
    conf_destroy(*conf);
    *conf = NULL;
    return kern_fail_context(status, "base of study %s", study->name);
}

/* "window" of model.window, unless another axis's option ends so, too. */
static const char *short_key(const conf_study *study, const char *key) {
    const char *dot = strchr(key, '.');
    for (int64_t i = 0; i < study->axes && dot; i++) {
        const char *other = strchr(study->axis[i].key, '.');
        if (other && strcmp(study->axis[i].key, key) && !strcmp(other, dot)) return key;
    }
    return dot ? dot + 1 : key;
}

/* "window-64_seed-1", of letters that a folder's name may have. */
static char *name_of(const conf_study *study, const int64_t *chosen) {
    char *name = NULL;
    size_t bytes = 0;
    FILE *to = open_memstream(&name, &bytes);
    ASSERT(to);
    for (int64_t i = 0; i < study->axes; i++) {
        const conf_axis *axis = &study->axis[i];
        const char *value = axis->alternative[chosen[i]].name, *slash = strrchr(value, '/');
        if (i) putc('_', to);
        if (conf_option_find(axis->key)) fprintf(to, "%s-", short_key(study, axis->key));
        fputs(slash && slash[1] ? slash + 1 : value, to);
    }
    ASSERT(!fclose(to));
    for (char *at = name; *at; at++)
        if (!isalnum((unsigned char)*at) && !strchr("._-", *at)) *at = '-';
    return name;
}

static char *value_of(const ttt_conf *conf, const char *key) {
    char *text = NULL;
    size_t bytes = 0;
    FILE *to = open_memstream(&text, &bytes);
    ASSERT(to);
    conf_option_print(to, conf, conf_option_find(key));
    ASSERT(!fclose(to));
    return text;
}

/* The number that a text is, or that an option of that name has. */
static double number_of(const ttt_conf *conf, const char *text) {
    if (!conf_option_find(text)) return strtod(text, NULL);
    char *value = value_of(conf, text);
    double number = strtod(value, NULL);
    free(value);
    return number;
}

/* Whether "> model.window" holds of a number. */
static bool compares(const ttt_conf *conf, double number, const char *comparison) {
    size_t sign = strspn(comparison, "<>=!");
    const char *other = comparison + sign;
    other += strspn(other, " ");
    double limit = number_of(conf, other);
    bool equal = sign > 1 && comparison[1] == '=';
    if (*comparison == '<') return number < limit || (equal && number == limit);
    if (*comparison == '>') return number > limit || (equal && number == limit);
    return number != limit;
}

/* Whether one of the values, which have commas between them, is what the option has: as the option
 * reads it, so that 1e3 is 1000. */
static bool is_one_of(const ttt_conf *conf, const conf_option *option, const char *values) {
    ttt_conf *other = NULL;
    bool found = false;
    char *rest = strdup(values), *word, *next = rest;
    ASSERT(rest && conf_create(&other) == KERN_OK);
    while (!found && (word = strsep(&next, ",")))
        found = conf_option_set(other, option, word) == KERN_OK &&
                conf_option_equal(conf, other, option);
    conf_destroy(other);
    free(rest);
    return found;
}

static bool holds(const ttt_conf *conf, const conf_setting *condition) {
    if (!strchr("<>!", *condition->value))
        return is_one_of(conf, conf_option_find(condition->key), condition->value);
    return compares(conf, number_of(conf, condition->key), condition->value);
}

static const char *left_out(const conf_study *study, const ttt_conf *conf) {
    for (int64_t i = 0; i < study->rules; i++) {
        const conf_settings *conditions = &study->rule[i].conditions;
        int64_t held = 0;
        while (held < conditions->count && holds(conf, &conditions->item[held])) held++;
        if (held == conditions->count) return study->rule[i].because;
    }
    return NULL;
}

static kern_status make_point(conf_point *point, const conf_study *study, const int64_t *chosen) {
    kern_status status = KERN_OK;
    const char *base = study->base, *reason;
    point->name = name_of(study, chosen);
    for (int64_t i = 0; i < study->axes; i++) {
        const char *given =
            conf_setting_of(&study->axis[i].alternative[chosen[i]].settings, "base");
        if (*given) base = given;
    }
    if (!*base) TRY(kern_fail(KERN_ERR_CONFIG, "there is no base"));
    TRY(conf_load(&point->conf, base, 0, NULL));
    TRY(apply(point->conf, &study->common));
    for (int64_t i = 0; i < study->axes; i++)
        TRY(apply(point->conf, &study->axis[i].alternative[chosen[i]].settings));
    TRY(conf_rename(point->conf, point->name));
    if ((reason = left_out(study, point->conf))) {
        point->left_out = strdup(reason);
        ASSERT(point->left_out);
        goto done;
    }
    TRY(conf_check(point->conf));
done:
    if (status != KERN_OK)
        return kern_fail_context(status, "study %s, point %s", study->name, point->name);
    return KERN_OK;
}

static bool sets(const conf_axis *axis, const char *key) {
    for (int64_t i = 0; i < axis->count; i++)
        if (*conf_setting_of(&axis->alternative[i].settings, key)) return true;
    return false;
}

/* An option is set by one axis: with two, points would not be what their names say. */
static kern_status check_axes(const conf_study *study) {
    for (int64_t i = 0; i < study->axes; i++)
        for (int64_t j = 0; j < study->axis[i].count; j++) {
            const conf_settings *settings = &study->axis[i].alternative[j].settings;
            for (int64_t k = 0; k < settings->count; k++)
                for (int64_t other = 0; other < i; other++)
                    if (sets(&study->axis[other], settings->item[k].key))
                        return kern_fail(KERN_ERR_CONFIG,
                                         "study %s: axes %s and %s both set %s; leave it to one",
                                         study->name, study->axis[other].key, study->axis[i].key,
                                         settings->item[k].key);
        }
    return KERN_OK;
}

/* The next combination, the last axis fastest; false behind the last one. */
static bool advance(const conf_study *study, int64_t *chosen) {
    for (int64_t i = study->axes - 1; i >= 0; i--) {
        if (++chosen[i] < study->axis[i].count) return true;
        chosen[i] = 0;
    }
    return false;
}

kern_status conf_study_points(conf_point **points, int64_t *count, const conf_study *study) {
    kern_status status = KERN_OK;
    int64_t capacity = 0, made = 0, left = 0;
    conf_point *point = NULL;
    int64_t *chosen = kern_array(study->axes, sizeof *chosen);
    *points = NULL;
    TRY(check_axes(study));
    do {
        point = kern_grow(point, &capacity, made + 1, sizeof *point);
        point[made] = (conf_point){.name = NULL};
        TRY(make_point(&point[made++], study, chosen));
        left += !point[made - 1].left_out;
        for (int64_t i = 0; i + 1 < made; i++)
            if (!strcmp(point[i].name, point[made - 1].name))
                TRY(kern_fail(KERN_ERR_CONFIG, "study %s: two points are called %s", study->name,
                              point[i].name));
    } while (advance(study, chosen));
    if (!left)
        TRY(kern_fail(KERN_ERR_CONFIG, "study %s: leave_out leaves out every point, as %s: %s",
                      study->name, point[0].name, point[0].left_out));
    *points = point;
    *count = made;
    point = NULL;
done:
    conf_points_destroy(point, made);
    free(chosen);
    return status;
}

void conf_points_destroy(conf_point *points, int64_t count) {
    for (int64_t i = 0; i < count && points; i++) {
        free(points[i].name);
        free(points[i].left_out);
        conf_destroy(points[i].conf);
    }
    free(points);
}
