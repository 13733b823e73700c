/* SPDX-License-Identifier: Apache-2.0 */

/* vertex-folder.c - what a container is told of files that lie in a bucket */

#include <nbcid/str.h>

#include "vertex-job.h"

/* Files that came with the notebook are in a bucket, which is mounted. */
static void put_mounted(struct nb_json_out *o, const char *url)
{
        nb_auto_free char *path = nb_asprintf("/gcs/%s", url + strlen("gs://"));

        nb_json_put_str(o, path);
}

void vertex_put_cwd(struct nb_json_out *o, const char *script, const char *url)
{
        nb_json_put_str(o, "sh");
        nb_json_put_str(o, "-c");
        nb_json_put_str(o, script);
        nb_json_put_str(o, "nbcid");
        put_mounted(o, url);
        nb_json_put_str(o, ".");
}

/* Where the folder is, for notebooks below its top. */
void vertex_put_env(struct nb_json_out *o, const struct exec_place *place)
{
        if (!place || !place->folder)
                return;
        nb_json_key(o, "env");
        nb_json_open_array(o);
        nb_json_open_object(o);
        nb_json_kv_str(o, "name", "NBCID_INPUT_FOLDER");
        nb_json_key(o, "value");
        put_mounted(o, place->folder);
        nb_json_close(o);
        nb_json_close(o);
}
