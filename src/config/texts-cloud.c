/* SPDX-License-Identifier: Apache-2.0 */
/* names of Google Cloud: is the text what it should be?  The service has the
 * last word; what breaks an address or a request does not get there. */
#include "parse.h"

#include <string.h>

#include <nbcid/str.h>

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

static bool made_of(const char *text, const char *letters, size_t max)
{
        size_t n = strlen(text);

        return n > 0 && n <= max && strspn(text, letters) == n;
}

const char *check_cloud_name(const char *text)
{
        return made_of(text, LOWER DIGITS "-.:", 63) && text[0] != '-' && text[0] != '.'
                       ? NULL
                       : "is not a name of Google Cloud; write it as in \"us-central1\"";
}

const char *check_bucket(const char *text)
{
        if (nb_starts_with(text, "gs://"))
                return "is an address; leave the gs:// out";
        return made_of(text, LOWER DIGITS "-._", 222) && strlen(text) >= 3 && !strstr(text, "..") &&
                               text[0] != '.' && text[0] != '-'
                       ? NULL
                       : "is not the name of a bucket; write it as in \"acme-notebooks\"";
}

const char *check_accelerator(const char *text)
{
        return made_of(text, UPPER DIGITS "_", 63)
                       ? NULL
                       : "is not a type of accelerator; write it as in \"NVIDIA_TESLA_T4\"";
}

const char *check_account(const char *text)
{
        const char *at = strchr(text, '@');

        return at && at > text && made_of(text, LOWER DIGITS "-._@:", 254) && !strchr(at + 1, '@')
                       ? NULL
                       : "is not a service account; write it as in "
                         "\"ci@PROJECT.iam.gserviceaccount.com\"";
}

const char *check_network(const char *text)
{
        return nb_starts_with(text, "projects/") && strstr(text, "/global/networks/") &&
                               made_of(text, LOWER DIGITS "-/", 254)
                       ? NULL
                       : "is not a network; write \"projects/NUMBER/global/networks/NAME\" with "
                         "the project's number";
}

/* A brace is the beginning of a name that is known, so that a mistyped one does
 * not reach the container as it is. */
const char *check_run_word(const char *text)
{
        static const char *const names[] = {"{input}",      "{output}", "{input_uri}",
                                            "{output_uri}", "{kernel}", "{cell_timeout}"};

        for (const char *p = strchr(text, '{'); p; p = strchr(p + 1, '{')) {
                bool known = false;

                for (size_t i = 0; i < NB_ARRAY_SIZE(names); i++)
                        known = known || nb_starts_with(p, names[i]);
                if (!known)
                        return "has a word in braces that is none of {input}, {output}, "
                               "{input_uri}, {output_uri}, {kernel}, {cell_timeout}";
        }
        return NULL;
}
