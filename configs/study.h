/* A study: many points that differ from a base configuration in a few options (docs/studies.md).
 * Read from a YAML file and multiplied out. All functions are local. */
#ifndef CONFIGS_STUDY_H
#define CONFIGS_STUDY_H

#include "configs/conf.h"

/* An option of a configuration, or `base`, with a value as text. */
typedef struct {
    char *key, *value;
    int line; /* in the file */
} conf_setting;

typedef struct {
    conf_setting *item;
    int64_t count, capacity;
} conf_settings;

/* One of an axis: settings that go together, by the name that points have of it. */
typedef struct {
    char *name;
    conf_settings settings;
} conf_alternative;

typedef struct {
    char *key; /* as the file has it: an option, or a name of the axis */
    conf_alternative *alternative;
    int64_t count, capacity;
} conf_axis;

/* Points where all conditions hold are left out. A condition's value is one of a list as text, or
 * "> 5", "<= model.window": a comparison with a number or an option. */
typedef struct {
    conf_settings conditions; /* `value`: values with commas, or a comparison */
    char *because;
} conf_rule;

/* What is measured of a trained point, and with which options of the command that does. */
typedef enum {
    CONF_MEASURE_LOSS,
    CONF_MEASURE_NEEDLE,
    CONF_MEASURE_LATENCY,
    CONF_MEASURE_DECODING,
    CONF_MEASURES
} conf_measure;
extern const char *const conf_measure_name[CONF_MEASURES];

typedef struct {
    conf_measure measure;
    conf_settings options; /* "windows": "24"; a flag's value is "true" */
} conf_evaluation;

typedef struct {
    char *name, *dir, *base; /* base: "" where an axis gives it */
    char *text;              /* of the file, as it was read */
    size_t bytes;
    bool match_parameters;
    conf_settings common; /* of all points */
    conf_axis *axis;
    int64_t axes, axis_capacity;
    conf_rule *rule;
    int64_t rules, rule_capacity;
    conf_evaluation *evaluation;
    int64_t evaluations, evaluation_capacity;
} conf_study;

/* Reads the study's file: a path; a name is looked for as that of a configuration is, in the
 * folders' `sweeps`. Errors: KERN_ERR_FILE, KERN_ERR_CONFIG: file, line, key, the nearest valid
 * one; *study is then NULL. Free with conf_study_destroy. */
kern_status conf_study_load(conf_study **study, const char *source);
void conf_study_destroy(conf_study *study); /* NULL is fine */

typedef struct {
    char *name;     /* "window-64_seed-1": of the configuration, fit for a folder */
    ttt_conf *conf; /* unchecked where it is left out; train.steps etc. all resolved */
    char *left_out; /* the reason; NULL: it is a point */
} conf_point;

/* All points in the order of the axes, the last one fastest. Errors: KERN_ERR_CONFIG: an option
 * that two axes set, two points of one name, a point that cannot be and that no rule leaves out
 * (which is named), rules that leave out every point; *points is then NULL. */
kern_status conf_study_points(conf_point **points, int64_t *count, const conf_study *study);
void conf_points_destroy(conf_point *points, int64_t count);

/* The base with what is common to all points, for what follows from it (match: parameters). */
kern_status conf_study_base(ttt_conf **conf, const conf_study *study);

/* The value of a setting's key ("" where there is none), for who looks into one. */
const char *conf_setting_of(const conf_settings *settings, const char *key);

#endif
