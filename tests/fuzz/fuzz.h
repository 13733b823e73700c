/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* fuzz.h - what a fuzz target is: bytes into a pure function, and properties
 * that hold for any bytes.  libFuzzer or replay.c calls it. */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* In every build; a fuzzer keeps the input that comes here. */
#define PROPERTY(cond) \
        do { \
                if (!(cond)) { \
                        fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #cond); \
                        abort(); \
                } \
        } while (0)
