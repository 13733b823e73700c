/* SPDX-License-Identifier: Apache-2.0 */

/* metadata.c - what a machine of Google Cloud knows of itself */

#include <nbcid/num.h>
#include <nbcid/str.h>

#include "gcp-priv.h"

int gcp_metadata_get(struct gcp *g, const char *path, gcp_call_fn done, void *arg,
                     struct gcp_call **ret, struct nb_err *err)
{
        static const char *const headers[] = {"Metadata-Flavor: Google", NULL};
        nb_auto_free char *url =
                nb_asprintf("http://%s/computeMetadata/v1/%s", g->metadata_host, path);
        const struct gcp_request r = {
                .method = "GET",
                .url = url,
                .headers = headers,
                .idempotent = true,
                .anonymous = true,
                .no_proxy = true,
                .tries = 5,
                .timeout_us = 3 * NB_US_PER_S,
        };

        if (!url)
                return nb_fail(err, NB_E_NOMEM, "no memory to ask the metadata server");
        return gcp_call(g, &r, done, arg, ret, err);
}
