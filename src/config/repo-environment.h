/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* repo-environment.h - the keys of [defaults] and [[job]] that say what a
 * notebook runs in; include table.h and config.h before */

enum { ENVIRONMENT_UNSAID, ENVIRONMENT_AUTO, ENVIRONMENT_DEFAULT };
extern const struct choice environment_choices[];
extern const struct choice workspace_choices[]; /* one more than enum workspace_kind */
const char *check_image(const char *text);
const char *check_kernel(const char *text);
const char *check_python(const char *text);

#define ENVIRONMENT_KEYS(type) \
        {"environment", KEY_CHOICE, .offset = offsetof(struct type, environment.choice), \
         .choices = environment_choices}, \
                {"image", KEY_TEXT, .offset = offsetof(struct type, environment.image), \
                 .check = check_image}, \
                {"kernel", KEY_TEXT, .offset = offsetof(struct type, environment.kernel), \
                 .check = check_kernel}, \
                {"python", KEY_TEXT, .offset = offsetof(struct type, environment.python), \
                 .check = check_python}, \
                {"workspace", KEY_CHOICE, .offset = offsetof(struct type, environment.workspace), \
                 .choices = workspace_choices}, \
                {"requirements", KEY_LIST, \
                 .offset = offsetof(struct type, environment.requirements)}, \
        { \
                "requirements_file", KEY_TEXT, \
                        .offset = offsetof(struct type, environment.requirements_file) \
        }
