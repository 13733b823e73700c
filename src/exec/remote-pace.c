/* SPDX-License-Identifier: Apache-2.0 */

/*
 * remote-pace.c - how often a service is asked
 *
 * Whoever goes over its quota is refused, and so is all else that is asked then:
 * a thousand jobs that are to begin would keep us from seeing others end.
 */

#include <nbcid/num.h>

#include "remote-priv.h"

uint64_t far_pace_wait_us(const struct far_pace *p, uint64_t now_us)
{
        uint64_t credit = now_us + (p->burst - 1) * p->every_us;

        return p->paid_us > credit ? p->paid_us - credit : 0;
}

uint64_t far_pace_take(struct far_pace *p, uint64_t now_us)
{
        uint64_t wait = far_pace_wait_us(p, now_us);

        if (p->paid_us < now_us)
                p->paid_us = now_us;
        p->paid_us += p->every_us;
        return wait;
}

bool far_turn(struct far_run *u, struct far_pace *p)
{
        uint64_t wait = u->paced ? 0 : far_pace_take(p, far_now_us(u->far));

        u->paced = wait > 0;
        if (wait > 0)
                loop_timer_arm(u->timer, wait);
        return wait == 0;
}

/* A request each, on average: under 2 a second, and 8 in the shortest pause between
 * two looks. */
#define ASK_US (600 * NB_US_PER_MS)
#define ASK_BURST 8
#define MINUTE_US (60 * NB_US_PER_S)
#define BURST_PART 7 /* of a minute's submissions may be at once, the others follow */

void far_paces_init(struct far *x)
{
        const uint64_t look = x->cfg->vertex.poll_us / ASK_BURST;
        const uint32_t n = x->cfg->vertex.submissions_per_minute;
        const uint32_t burst = n > BURST_PART ? n / BURST_PART : 1;

        x->asks = (struct far_pace){.every_us = look < ASK_US ? look : ASK_US, .burst = ASK_BURST};
        x->finds = x->asks;
        x->submits = (struct far_pace){.every_us = MINUTE_US / (n > burst ? n - burst : 1),
                                       .burst = burst};
}
