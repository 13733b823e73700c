/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* ban.h - forced into every C file by the build: calls that have no safe use
 * here do not compile.  The remedy stands beside each. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#undef strcpy
#undef strcat
#undef strncpy
#undef strncat
#undef sprintf
#undef vsprintf
#undef strtok
#undef atoi
#undef atol
#undef atof
#undef gets
#pragma GCC poison strcpy strcat strncpy strncat /* nb_fmt, nb_buf */
#pragma GCC poison sprintf vsprintf              /* nb_fmt, nb_asprintf */
#pragma GCC poison strtok                        /* strcspn, strsep */
#pragma GCC poison atoi atol atof                /* nb_parse_* */
#pragma GCC poison gets
