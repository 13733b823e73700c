/* SPDX-License-Identifier: Apache-2.0 */
#include <nbcid/finding.h>

#include <stdlib.h>
#include <string.h>

#include <nbcid/mem.h>
#include <nbcid/str.h>

void finding_done(struct finding *f)
{
        if (!f)
                return;
        free(f->path);
        free(f->message);
        free(f->remedy);
        free(f->text);
        *f = (struct finding){0};
}

void findings_done(struct findings *f)
{
        if (!f)
                return;
        for (size_t i = 0; i < f->n; i++)
                finding_done(&f->v[i]);
        free(f->v);
        *f = (struct findings){.max = f->max};
}

static const struct finding *first_of(const struct findings *f, enum finding_severity severity)
{
        for (size_t i = 0; i < f->n; i++)
                if (f->v[i].severity == severity)
                        return &f->v[i];
        return NULL;
}

/* An error must not get lost among warnings: make room for it. */
static bool drop_warning(struct findings *to)
{
        for (size_t i = to->n; i-- > 0;)
                if (to->v[i].severity == FINDING_WARNING) {
                        finding_done(&to->v[i]);
                        memmove(to->v + i, to->v + i + 1, (to->n - i - 1) * sizeof(*to->v));
                        to->n--;
                        return true;
                }
        return false;
}

bool findings_keep(const struct findings *f, enum finding_severity severity)
{
        return f->n < f->max || (severity == FINDING_ERROR && first_of(f, FINDING_WARNING));
}

int findings_add_take(struct findings *to, struct finding *f, struct nb_err *err)
{
        struct finding *v;

        if (to->n >= to->max) {
                to->more++;
                if (f->severity != FINDING_ERROR || !drop_warning(to)) {
                        finding_done(f);
                        return 0;
                }
        }
        /* doubled at each power of two, which needs no capacity beside n */
        if ((to->n & (to->n - 1)) == 0) {
                v = to->n > SIZE_MAX / 2 / sizeof(*v)
                            ? NULL
                            : realloc(to->v, (to->n ? 2 * to->n : 1) * sizeof(*v));
                if (!v) {
                        finding_done(f);
                        return nb_fail(err, NB_E_NOMEM, "no memory for a finding");
                }
                to->v = v;
        }
        to->v[to->n++] = *f;
        *f = (struct finding){0};
        return 0;
}

bool findings_refuse(const struct findings *f)
{
        return first_of(f, FINDING_ERROR);
}

char *findings_text(const struct findings *f)
{
        const struct finding *first = first_of(f, FINDING_ERROR);
        size_t others = f->n + f->more - 1;
        char place[96] = "", more[48] = "";

        if (!first)
                first = first_of(f, FINDING_WARNING);
        if (!first)
                return NULL;
        if (first->cell > 0 && first->cell_line > 0)
                (void)nb_fmt(place, sizeof(place), "cell %lld line %zu: ", (long long)first->cell,
                             first->cell_line);
        else if (first->cell > 0)
                (void)nb_fmt(place, sizeof(place), "cell %lld: ", (long long)first->cell);
        else if (first->line > 0)
                (void)nb_fmt(place, sizeof(place), "line %zu column %zu: ", first->line,
                             first->column);
        if (others > 0)
                (void)nb_fmt(more, sizeof(more), "; and %zu more", others);
        return nb_asprintf("%s%s%s", place, first->message ? first->message : "", more);
}
