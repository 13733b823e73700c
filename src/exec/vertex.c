/* SPDX-License-Identifier: Apache-2.0 */

/*
 * vertex.c - notebooks as custom jobs of Vertex AI: requests and replies
 *
 * Pure.  Facts: googleapis/googleapis google/cloud/aiplatform/v1 job_service.proto,
 * custom_job.proto, machine_resources.proto, job_state.proto; in JSON 64-bit
 * numbers are texts and what is unset is left out.
 */

#include <time.h>

#include <nbcid/num.h>
#include <nbcid/str.h>

#include "exec-priv.h"
#include "vertex-job.h"

#define INVALID_CODE 3 /* google.rpc.Code */
#define DEADLINE_CODE 4
#define NOTFOUND_CODE 5
#define DENIED_CODE 7
#define EXHAUSTED_CODE 8
#define UNKNOWN_CALLER_CODE 16
#define SLACK_US (2 * NB_US_PER_S) /* both times of a job may be whole seconds */

/* ---- addresses ---- */

/* The host serves one region. */
static char *base_of(const struct config_executor *cfg, const char *region)
{
        static const char word[] = "{region}";
        const char *url = cfg->vertex.api_url ? cfg->vertex.api_url
                                              : "https://{region}-aiplatform.googleapis.com";
        const char *at = strstr(url, word);

        return at ? nb_asprintf("%.*s%s%s", (int)(at - url), url, region, at + strlen(word))
                  : nb_strdup(url);
}

/* That of a job's name is the one that it is in. */
static char *region_of(const char *name)
{
        static const char word[] = "/locations/";
        const char *at = strstr(name, word);

        at = at ? at + strlen(word) : "";
        return nb_strndup(at, strcspn(at, "/"));
}

static char *submit_url(const struct config_executor *cfg, const char *project, const char *region)
{
        nb_auto_free char *base = base_of(cfg, region);

        return base ? nb_asprintf("%s/v1/projects/%s/locations/%s/customJobs", base, project,
                                  region)
                    : NULL;
}

static char *job_url(const struct config_executor *cfg, const char *name)
{
        nb_auto_free char *region = region_of(name);
        nb_auto_free char *base = region ? base_of(cfg, region) : NULL;

        return base ? nb_asprintf("%s/v1/%s", base, name) : NULL;
}

static char *cancel_url(const struct config_executor *cfg, const char *name)
{
        nb_auto_free char *url = job_url(cfg, name);

        return url ? nb_asprintf("%s:cancel", url) : NULL;
}

static char *list_url(const struct config_executor *cfg, const char *project, const char *region,
                      const char *filter, const char *token)
{
        nb_auto_free char *base = submit_url(cfg, project, region);
        nb_auto_free char *text = filter ? nb_url_encode(filter, false) : NULL;
        nb_auto_free char *page = nb_url_encode(token ? token : "", false);

        if (!base || !text || !page)
                return NULL;
        return nb_asprintf("%s?pageSize=100&readMask=name,labels,state,error,createTime,startTime,"
                           "endTime&filter=%s%s%s",
                           base, text, *page ? "&pageToken=" : "", page);
}

static char *find_url(const struct config_executor *cfg, const char *project, const char *region,
                      const char *label, int place, const char *token)
{
        nb_auto_free char *filter = place < 0 ? nb_asprintf("labels.nbcid-attempt=\"%s\"", label)
                                              : nb_asprintf("labels.nbcid-attempt=\"%s\" AND "
                                                            "labels.nbcid-place=\"%d\"",
                                                            label, place);

        return list_url(cfg, project, region, filter, token);
}

static char *alive_url(const struct config_executor *cfg, const char *region, const char *group,
                       const char *token)
{
        nb_auto_free char *filter =
                nb_asprintf("labels.nbcid-instance=\"%s\" AND state!=\"JOB_STATE_SUCCEEDED\" "
                            "AND state!=\"JOB_STATE_FAILED\" AND state!=\"JOB_STATE_CANCELLED\" "
                            "AND state!=\"JOB_STATE_EXPIRED\" "
                            "AND state!=\"JOB_STATE_PARTIALLY_SUCCEEDED\"",
                            group);

        return list_url(cfg, cfg->vertex.project, region, filter, token);
}

static char *show_url(const struct config_executor *cfg, const char *name)
{
        nb_auto_free char *region = region_of(name);
        const char *id = strrchr(name, '/');

        return region ? nb_asprintf("https://console.cloud.google.com/vertex-ai/locations/%s/"
                                    "training/%s?project=%s",
                                    region, id ? id + 1 : name, cfg->vertex.project)
                      : NULL;
}

/* ---- what the container wrote ---- */

static char *log_url(const struct config_executor *cfg)
{
        return nb_asprintf("%s/v2/entries:list", cfg->vertex.logging_url
                                                         ? cfg->vertex.logging_url
                                                         : "https://logging.googleapis.com");
}

/* With a time the service need not search in all that it has. */
static void log_body(const struct config_executor *cfg, const char *name, const char *since,
                     const char *token, unsigned page_size, struct nb_buf *ret)
{
        struct nb_json_out o = NB_JSON_OUT(ret);
        const char *id = strrchr(name, '/');
        const bool timed = since && strlen(since) < 64 && !since[strspn(since, "0123456789-:.TZ")];
        nb_auto_free char *project = nb_asprintf("projects/%s", cfg->vertex.project);
        nb_auto_free char *filter =
                nb_asprintf("resource.type=\"ml_job\" AND resource.labels.job_id=\"%s\"%s%s%s",
                            id ? id + 1 : name, timed ? " AND timestamp>=\"" : "",
                            timed ? since : "", timed ? "\"" : "");

        nb_json_open_object(&o);
        nb_json_key(&o, "resourceNames");
        nb_json_open_array(&o);
        nb_json_put_str(&o, project ? project : "");
        nb_json_close(&o);
        nb_json_kv_str(&o, "filter", filter ? filter : "");
        nb_json_kv_str(&o, "orderBy", "timestamp desc");
        nb_json_kv_int(&o, "pageSize", page_size);
        if (token)
                nb_json_kv_str(&o, "pageToken", token);
        nb_json_close(&o);
}

static void log_read(const struct nb_json *root, void (*line)(void *arg, const char *text),
                     void *arg, const char **ret_token)
{
        const struct nb_json *entries = nb_json_get(root, "entries");
        const char *token = nb_json_str(nb_json_get(root, "nextPageToken"), NULL);

        *ret_token = token && *token ? token : NULL;
        for (size_t i = 0; i < nb_json_size(entries); i++) {
                const struct nb_json *e = nb_json_index(entries, i);
                const char *time = nb_json_str(nb_json_get(e, "timestamp"), NULL);
                const char *text = nb_json_str(nb_json_get(e, "textPayload"), NULL);
                nb_auto_free char *whole = NULL;

                if (!text)
                        text = nb_json_str(nb_json_at(e, "jsonPayload", "message", NULL), NULL);
                if (!text)
                        continue;
                whole = nb_asprintf("%.19s %s", time ? time : "", text);
                if (whole)
                        line(arg, whole);
        }
}

/* What it says of machines and of quota is 429, as what it says of too many
 * requests. */
static enum far_refusal refusal(int code, const char *message)
{
        if (strstr(message, "Resources are insuf"))
                return FAR_NO_ROOM;
        if (strstr(message, "quota metrics exceed"))
                return FAR_QUOTA;
        return code == EXHAUSTED_CODE ? FAR_RATE_LIMIT : FAR_REFUSED;
}

/* ---- replies ---- */

static const struct {
        const char *name;
        enum far_state state;
} states[] = {
        {"JOB_STATE_QUEUED", FAR_WAITING},
        {"JOB_STATE_PENDING", FAR_WAITING},
        {"JOB_STATE_RUNNING", FAR_RUNNING},
        {"JOB_STATE_UPDATING", FAR_RUNNING},
        {"JOB_STATE_PAUSED", FAR_WAITING},
        {"JOB_STATE_CANCELLING", FAR_CANCELLING},
        {"JOB_STATE_SUCCEEDED", FAR_SUCCEEDED},
        {"JOB_STATE_FAILED", FAR_FAILED},
        {"JOB_STATE_CANCELLED", FAR_CANCELLED},
        {"JOB_STATE_EXPIRED", FAR_EXPIRED},
        {"JOB_STATE_PARTIALLY_SUCCEEDED", FAR_PARTIAL},
};

/* It becomes part of an address. */
static bool name_fine(const char *name)
{
        return name && nb_starts_with(name, "projects/") && strstr(name, "/customJobs/") &&
               strlen(name) < 256 && !strstr(name, "..") &&
               strspn(name,
                      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.:-_/") ==
                       strlen(name);
}

static bool read_job(const struct nb_json *v, struct far_job *ret)
{
        const char *state = nb_json_str(nb_json_get(v, "state"), NULL);
        int64_t code = 0;

        *ret = (struct far_job){
                .name = nb_json_str(nb_json_get(v, "name"), NULL),
                .label = nb_json_str(nb_json_at(v, "labels", "nbcid-attempt", NULL), NULL),
                .created = nb_json_str(nb_json_get(v, "createTime"), NULL),
                .started = nb_json_str(nb_json_get(v, "startTime"), NULL),
                .ended = nb_json_str(nb_json_get(v, "endTime"), NULL),
                .state = FAR_WAITING, /* also what a job of this instant says: nothing */
                .message = nb_json_str(nb_json_at(v, "error", "message", NULL), NULL),
        };
        for (size_t i = 0; i < NB_ARRAY_SIZE(states); i++)
                if (nb_streq(state, states[i].name))
                        ret->state = states[i].state;
        if (nb_json_int(nb_json_at(v, "error", "code", NULL), &code) && code > 0 && code < 100)
                ret->code = (int)code;
        return name_fine(ret->name) && ret->label;
}

static const struct nb_json *read_list(const struct nb_json *root, const char **ret_token)
{
        const char *token = nb_json_str(nb_json_get(root, "nextPageToken"), NULL);

        *ret_token = token && *token ? token : NULL;
        return nb_json_get(root, "customJobs");
}

/* An RFC 3339 time in UTC, as the service writes it, in milliseconds; 0: it is
 * none. */
static int64_t time_ms(const char *text)
{
        struct tm tm = {0};
        const char *rest = text ? strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;
        int64_t ms = rest ? (int64_t)timegm(&tm) * 1000 : 0;

        if (rest && *rest == '.')
                for (int64_t i = 100; i > 0 && *++rest >= '0' && *rest <= '9'; i /= 10)
                        ms += (*rest - '0') * i;
        return ms > 0 ? ms : 0;
}

static void put_times(const struct far_job *j, struct far_end *e)
{
        e->started_ms = time_ms(j->started);
        e->ended_ms = time_ms(j->ended);
        if (e->started_ms > 0 && e->ended_ms > e->started_ms)
                e->run_us = (uint64_t)(e->ended_ms - e->started_ms) * NB_US_PER_MS;
}

static void say(struct far_end *e, enum run_class class, const char *what, const struct far_job *j)
{
        e->class = class;
        if (j->message)
                (void)nb_fmt(e->reason, sizeof(e->reason), "%s: %s", what, j->message);
        else
                (void)nb_fmt(e->reason, sizeof(e->reason), "%s", what);
}

/* Code 3 is an exit status when it says so, else a wrong description; what is
 * the same again when it is tried again still is not the notebook's fault. */
static void end_failed(const struct far_job *j, struct far_end *ret)
{
        static const char words[] = "non-zero status of ";
        const char *at = j->message ? strstr(j->message, words) : NULL;
        uint64_t status;
        nb_auto_free char *digits =
                at ? nb_strndup(at + strlen(words), strspn(at + strlen(words), "0123456789"))
                   : NULL;

        if (at && (j->code == INVALID_CODE || j->code == 0)) {
                if (digits && nb_parse_u64(digits, 0, 255, &status, NULL) == 0)
                        ret->status = (int)status;
                ret->look = true;
                say(ret, CLASS_CELL_ERROR, "Vertex AI", j);
        } else if (j->code == EXHAUSTED_CODE) {
                ret->no_room = true;
                say(ret, CLASS_CAPACITY, "Vertex AI has no machine for it, or its quota is used up",
                    j);
        } else if (j->code == DEADLINE_CODE) {
                say(ret, CLASS_TIMEOUT, "Vertex AI", j);
        } else if (j->code == DENIED_CODE || j->code == UNKNOWN_CALLER_CODE) {
                say(ret, CLASS_PERMISSION, "Vertex AI", j);
        } else if (j->code == INVALID_CODE || j->code == NOTFOUND_CODE) {
                say(ret, CLASS_CONFIGURATION, "Vertex AI", j);
        } else {
                say(ret, CLASS_INFRASTRUCTURE, "Vertex AI", j);
        }
}

static void end(const struct far_job *j, bool cancel_asked, uint64_t timeout_us,
                struct far_end *ret)
{
        nb_assert(far_state_final(j->state));
        *ret = (struct far_end){0};
        put_times(j, ret);
        switch (j->state) {
        case FAR_SUCCEEDED:
                ret->look = ret->must = true;
                ret->class = CLASS_PASSED;
                return;
        case FAR_PARTIAL:
                ret->look = true;
                say(ret, CLASS_INFRASTRUCTURE, "Vertex AI says that it succeeded in part only", j);
                return;
        case FAR_FAILED:
                end_failed(j, ret);
                return;
        case FAR_EXPIRED:
                if (j->started)
                        say(ret, CLASS_TIMEOUT, "Vertex AI ended it when its time was over", j);
                else {
                        ret->no_room = true;
                        say(ret, CLASS_CAPACITY, "Vertex AI had no machine for it in time", j);
                }
                return;
        case FAR_CANCELLED:
                if (cancel_asked)
                        say(ret, CLASS_CANCELLED, "cancelled", j);
                else if (j->code == DEADLINE_CODE ||
                         (ret->run_us > 0 && ret->run_us + SLACK_US >= timeout_us))
                        say(ret, CLASS_TIMEOUT, "Vertex AI ended it when its time was over", j);
                else
                        say(ret, CLASS_CANCELLED, "cancelled in Vertex AI by somebody else", j);
                return;
        case FAR_WAITING:
        case FAR_RUNNING:
        case FAR_CANCELLING:
                break;
        }
}

const struct far_kind far_vertex = {
        .name = "vertex",
        .caps = EXEC_CAP_SURVIVES | EXEC_CAP_ISOLATES | EXEC_CAP_IMAGES,
        .plan = vertex_plan,
        .image = vertex_image,
        .submit_url = submit_url,
        .job_url = job_url,
        .cancel_url = cancel_url,
        .find_url = find_url,
        .alive_url = alive_url,
        .show_url = show_url,
        .read = read_job,
        .read_list = read_list,
        .end = end,
        .log_url = log_url,
        .log_body = log_body,
        .log_read = log_read,
        .log_permission = "logging.logEntries.list (roles/logging.viewer)",
        .refusal = refusal,
};

static int vertex_open(const struct config_executor *cfg, const struct exec_deps *deps,
                       struct exec **ret, struct nb_err *err)
{
        return far_open(&far_vertex, &exec_vertex_ops, cfg, deps, ret, err);
}

const struct exec_ops exec_vertex_ops = {
        .name = "vertex",
        .caps = EXEC_CAP_SURVIVES | EXEC_CAP_ISOLATES | EXEC_CAP_IMAGES,
        .open = vertex_open,
        .close = far_close,
        .start = far_start,
        .attach = far_attach,
        .cancel = far_cancel,
        .collect = far_collect,
        .release = far_release,
        .forget = far_forget,
        .idle = far_idle,
        .sweep = far_sweep,
};
