/* SPDX-License-Identifier: Apache-2.0 */
#include <nbcid/httpmsg.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <nbcid/crypto.h>
#include <nbcid/str.h>

/* Not strcasecmp(): that one follows the locale. */
static char lower(char c)
{
        return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

static bool name_equal(const char *a, const char *b)
{
        for (; *a && lower(*a) == lower(*b); a++)
                b++;
        return *a == *b;
}

const char *http_in_header(const struct http_in *m, const char *name)
{
        for (size_t i = 0; i < m->n_headers; i++)
                if (name_equal(m->headers[i].name, name))
                        return m->headers[i].value;
        return NULL;
}

static void wipe_text(char *s)
{
        if (s)
                nb_wipe(s, strlen(s));
        free(s);
}

void http_out_done(struct http_out *m)
{
        if (!m)
                return;
        free(m->method);
        wipe_text(m->url);
        for (size_t i = 0; i < m->n_headers; i++)
                wipe_text(m->headers[i]);
        free(m->headers);
        if (m->body)
                nb_wipe(m->body, m->n_body);
        free(m->body);
        *m = (struct http_out){0};
}

/* RFC 9110 section 5.5: no control character but a tab; a line break in here
 * would start a header of somebody else's choosing. */
static bool one_line(const char *s)
{
        for (; *s; s++)
                if (((unsigned char)*s < 0x20 && *s != '\t') || *s == 0x7f)
                        return false;
        return true;
}

int http_out_header(struct http_out *m, const char *name, const char *value)
{
        char *line, **more;

        if (!one_line(name) || !one_line(value))
                return -1;
        line = nb_asprintf("%s: %s", name, value);
        if (!line)
                return -1;
        more = reallocarray(m->headers, m->n_headers + 1, sizeof(*more));
        if (!more) {
                wipe_text(line);
                return -1;
        }
        m->headers = more;
        m->headers[m->n_headers++] = line;
        return 0;
}
