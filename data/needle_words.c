#include <stdio.h>

#include "data/needle.h"

static const char *const adjectives[] = {
    "amber",   "ancient", "bitter", "blunt",  "brave",  "bright",  "broken", "calm",
    "clever",  "coarse",  "cold",   "crisp",  "curved", "damp",    "dark",   "deep",
    "double",  "dusty",   "early",  "empty",  "faded",  "fair",    "fierce", "flat",
    "fresh",   "frozen",  "gentle", "gilded", "grave",  "hollow",  "honest", "humble",
    "idle",    "jagged",  "keen",   "late",   "lean",   "level",   "lonely", "loud",
    "mild",    "narrow",  "noble",  "odd",    "pale",   "patient", "plain",  "proud",
    "quick",   "quiet",   "rapid",  "rough",  "rusty",  "secret",  "sharp",  "silent",
    "slender", "solid",   "steep",  "stern",  "sweet",  "tall",    "warm",   "weary",
};

static const char *const nouns[] = {
    "anchor",  "apple",  "arrow",   "badger",  "barrel",  "basket", "beacon",  "bell",
    "bishop",  "bottle", "bridge",  "bucket",  "candle",  "canyon", "castle",  "cedar",
    "chapel",  "cherry", "cliff",   "clock",   "compass", "copper", "cottage", "crane",
    "dagger",  "desert", "engine",  "falcon",  "feather", "ferry",  "forest",  "garden",
    "glacier", "hammer", "harbour", "hedge",   "island",  "jacket", "kettle",  "ladder",
    "lantern", "lemon",  "marble",  "meadow",  "mirror",  "needle", "orchard", "otter",
    "paddle",  "pepper", "piano",   "pigeon",  "quarry",  "ribbon", "saddle",  "shovel",
    "signal",  "stable", "temple",  "thistle", "tunnel",  "violin", "willow",  "window",
};

enum {
    ADJECTIVES = sizeof adjectives / sizeof *adjectives,
    NOUNS = sizeof nouns / sizeof *nouns,
    KEY_BYTES = 64
};

uint64_t data_needle_random(uint64_t *state) { /* splitmix64 */
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

void data_needle_key(char *text, uint64_t *state) {
    const char *adjective = adjectives[data_needle_random(state) % ADJECTIVES];
    const char *noun = nouns[data_needle_random(state) % NOUNS];
    snprintf(text, KEY_BYTES, "%s-%s", adjective, noun);
}
