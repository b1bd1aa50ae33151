// The few assertions that the tests of the model need.
#pragma once
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

inline int checks_passed = 0;
inline int checks_failed = 0;

inline void check(bool holds, const char* what) {
    if (holds) {
        ++checks_passed;
    } else {
        ++checks_failed;
        std::printf("FAILED %s\n", what);
    }
}

inline int report() {
    std::printf("%d passed, %d failed\n", checks_passed, checks_failed);
    return checks_failed == 0 ? 0 : 1;
}
