/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * remote.h - what executors that are far away share, and what each adds
 *
 * remote.c does the work: staging, submitting, finding again, polling,
 * cancelling, collecting, and removing what was left behind.  A kind (vertex.c)
 * only translates: it opens no socket, reads no file and no clock.
 */

#include <nbcid/exec.h>
#include <nbcid/json.h>

enum far_state {
        FAR_WAITING, /* for quota, for a machine, for its container */
        FAR_RUNNING,
        FAR_CANCELLING,
        FAR_SUCCEEDED,
        FAR_FAILED,
        FAR_CANCELLED,
        FAR_EXPIRED,
        FAR_PARTIAL,
};
bool far_state_final(enum far_state s);

/* A job as the service shows it.  Texts are borrowed from the JSON; NULL: not
 * said. */
struct far_job {
        const char *name;  /* the service's own, to ask for it */
        const char *label; /* ours */
        const char *created, *started, *ended;
        enum far_state state;
        int code; /* of its error: google.rpc.Code; 0: none */
        const char *message;
};

/* How a job ended, before anybody has looked at the notebook. */
struct far_end {
        enum run_class class;
        bool look;                    /* the notebook that it left decides */
        bool must;                    /* it must have left one */
        bool no_room;                 /* there was no machine of that kind at that place */
        int status;                   /* exit status of the container, 0: not said */
        uint64_t run_us;              /* how long it ran; 0: not known */
        int64_t started_ms, ended_ms; /* 0: not said */
        char reason[600];
};

/* What a submission is made of; borrowed. */
struct far_plan {
        const struct exec_job *job;
        const char *label, *group;  /* of this attempt; of all of this installation */
        const char *input, *output; /* gs:// addresses */
        unsigned place;             /* of the configuration */
        enum workspace_kind workspace_kind;
        const char *workspace; /* gs:// address of the archive or of the folder; or NULL */
};

/* Why a submission was refused. */
enum far_refusal {
        FAR_REFUSED,    /* for good */
        FAR_NO_ROOM,    /* no machine of that kind there: try another place */
        FAR_QUOTA,      /* until others have ended */
        FAR_RATE_LIMIT, /* for a moment */
};

struct far_kind {
        const char *name;
        unsigned caps;
        /* The body that submits it, appended.  NB_E_INVALID: what the notebook asks
         * for cannot be had here. */
        int (*plan)(const struct config_executor *cfg, const struct far_plan *p, struct nb_buf *ret,
                    struct nb_err *err);
        /* The image, and who chose it, for people; owned, NULL when there is none. */
        char *(*image)(const struct config_executor *cfg, const struct nb_environment *e,
                       char **ret_why);
        /* Addresses; owned, NULL when memory is out.  name is one that read() took. */
        char *(*submit_url)(const struct config_executor *cfg, const char *project,
                            const char *region);
        char *(*job_url)(const struct config_executor *cfg, const char *name);
        char *(*cancel_url)(const struct config_executor *cfg, const char *name);
        /* All jobs of a label in a region, in any state; of one place, or of all: -1;
         * token: of the page before, or NULL. */
        char *(*find_url)(const struct config_executor *cfg, const char *project,
                          const char *region, const char *label, int place, const char *token);
        /* Those of a group that have not ended; token: of the page before, or NULL. */
        char *(*alive_url)(const struct config_executor *cfg, const char *region, const char *group,
                           const char *token);
        /* For people, or NULL. */
        char *(*show_url)(const struct config_executor *cfg, const char *name);
        /* One job of an answer; false: it is none, or not of ours. */
        bool (*read)(const struct nb_json *v, struct far_job *ret);
        /* The list in an answer, and the next page's token or NULL. */
        const struct nb_json *(*read_list)(const struct nb_json *root, const char **ret_token);
        void (*end)(const struct far_job *j, bool cancel_asked, uint64_t timeout_us,
                    struct far_end *ret);
        /* What the container wrote; log_url NULL: the service does not tell.  since:
         * when the job was made, or NULL; token: of the page before, or NULL. */
        char *(*log_url)(const struct config_executor *cfg);
        void (*log_body)(const struct config_executor *cfg, const char *name, const char *since,
                         const char *token, unsigned page_size, struct nb_buf *ret);
        /* line() for each, the newest first. */
        void (*log_read)(const struct nb_json *root, void (*line)(void *arg, const char *text),
                         void *arg, const char **ret_token);
        const char *log_permission; /* and the role that has it, for people */
        enum far_refusal (*refusal)(int code, const char *message);
};
extern const struct far_kind far_vertex;

/* The operations of a far executor, but for name, caps and open. */
int far_open(const struct far_kind *kind, const struct exec_ops *ops,
             const struct config_executor *cfg, const struct exec_deps *deps, struct exec **ret,
             struct nb_err *err);
void far_close(struct exec *base);
int far_start(struct exec *base, const struct exec_job *job, exec_event_fn fn, void *arg,
              struct exec_run **ret, struct nb_err *err);
int far_attach(struct exec *base, const char *ref, exec_event_fn fn, void *arg,
               struct exec_run **ret, struct nb_err *err);
int far_cancel(struct exec_run *run, struct nb_err *err);
int far_collect(struct exec_run *run, int dirfd, struct nb_err *err);
void far_release(struct exec_run *run);
void far_forget(struct exec *base, const char *ref);
bool far_idle(const struct exec *base);
void far_sweep(struct exec *base, bool (*keep)(void *arg, const char *ref), void *arg);

/* Pure: a label that names ref or its installation: lower case letters, digits,
 * '_' and '-', at most 63 of them; what does not fit becomes its hash. */
#define FAR_LABEL_SIZE 64
void far_label(const char *text, char ret[FAR_LABEL_SIZE]);
