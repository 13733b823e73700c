/* SPDX-License-Identifier: Apache-2.0 */
#include "set.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <nbcid/mem.h>

#define TEXTS_MAX ((size_t)1 << 31)
#define FIRST_CAP 64

void set_init(struct set *s)
{
        *s = (struct set){.texts = NB_BUF(TEXTS_MAX)};
}

void set_done(struct set *s)
{
        nb_buf_done(&s->texts);
        free(s->slots);
        s->slots = NULL;
        s->cap = s->n = 0;
}

void set_clear(struct set *s)
{
        nb_buf_clear(&s->texts);
        if (s->slots)
                memset(s->slots, 0, s->cap * sizeof(*s->slots));
        s->n = 0;
}

static uint64_t mix(uint64_t a, uint64_t b)
{
        unsigned __int128 wide = (unsigned __int128)a * b;

        return (uint64_t)wide ^ (uint64_t)(wide >> 64);
}

static uint32_t hash(const struct set *s, const char *p, size_t n)
{
        uint64_t h = mix(s->seed ^ n, UINT64_C(0x9e3779b97f4a7c15)), w;

        for (; n >= sizeof(w); p += sizeof(w), n -= sizeof(w)) {
                memcpy(&w, p, sizeof(w));
                h = mix(h ^ w ^ s->seed, UINT64_C(0xd6e8feb86659fd93));
        }
        w = 0;
        memcpy(&w, p, n);
        h = mix(h ^ w ^ s->seed, UINT64_C(0xa0761d6478bd642f));
        return (uint32_t)(h >> 32 ^ h);
}

static bool slot_is(const struct set *s, const struct set_slot *slot, const char *p, size_t n)
{
        const char *text = s->texts.data + slot->at - 1;
        uint32_t len;

        memcpy(&len, text, sizeof(len));
        return len == n && memcmp(text + sizeof(len), p, n) == 0;
}

/* The slot that has the string, or the empty one for it. */
static struct set_slot *find(const struct set *s, uint32_t h, const char *p, size_t n)
{
        size_t i = h & (s->cap - 1);

        while (s->slots[i].at && (s->slots[i].hash != h || !slot_is(s, &s->slots[i], p, n)))
                i = (i + 1) & (s->cap - 1);
        return &s->slots[i];
}

/* The same for all sets of the process: a notebook has three, and a call of the kernel for each
 * is seen when small ones are checked by the thousand.  Without entropy, early at boot, it
 * is 0: slow at worst. */
static uint64_t secret_seed(void)
{
        static _Atomic uint64_t seed;
        uint64_t known = atomic_load_explicit(&seed, memory_order_relaxed), fresh;

        if (known == 0 && getrandom(&fresh, sizeof(fresh), GRND_NONBLOCK) == sizeof(fresh) &&
            atomic_compare_exchange_strong(&seed, &known, fresh))
                known = fresh;
        return known;
}

static int grow(struct set *s)
{
        struct set big = *s;

        if (s->cap == 0)
                s->seed = secret_seed();
        big.seed = s->seed;
        big.cap = s->cap ? 2 * s->cap : FIRST_CAP;
        big.slots = nb_alloc_array(big.cap, sizeof(*big.slots));
        if (!big.slots)
                return -1;
        for (size_t i = 0; i < s->cap; i++)
                if (s->slots[i].at) {
                        size_t k = s->slots[i].hash & (big.cap - 1);

                        while (big.slots[k].at)
                                k = (k + 1) & (big.cap - 1);
                        big.slots[k] = s->slots[i];
                }
        free(s->slots);
        s->slots = big.slots;
        s->cap = big.cap;
        return 0;
}

int set_add(struct set *s, const char *p, size_t n, struct nb_err *err)
{
        uint32_t h, len = (uint32_t)n, at;
        struct set_slot *slot;

        if (s->n >= s->cap / 4 * 3 && grow(s) < 0)
                return nb_fail(err, NB_E_NOMEM, "no memory for the names in a notebook");
        h = hash(s, p, n);
        slot = find(s, h, p, n);
        if (slot->at)
                return 0;
        at = (uint32_t)s->texts.len + 1;
        if (n > TEXTS_MAX || nb_buf_append(&s->texts, &len, sizeof(len)) < 0 ||
            nb_buf_append(&s->texts, p, n) < 0)
                return nb_fail(err, NB_E_NOMEM, "no memory for the names in a notebook");
        *slot = (struct set_slot){h, at};
        s->n++;
        return 1;
}
