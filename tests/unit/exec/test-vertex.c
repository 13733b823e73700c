/* SPDX-License-Identifier: Apache-2.0 */

/* test-vertex.c - requests to Vertex AI and the reading of its replies */

#include <nbtest.h>

#include <nbcid/num.h>
#include <nbcid/str.h>

#include "../../../src/exec/remote.h"

static struct config_executor config(void)
{
        static char name[] = "vertex", project[] = "acme", region[] = "us-central1", bucket[] = "b",
                    machine[] = "n1-standard-4", disk[] = "pd-ssd", image[] = "docker.io/a/b:1";

        return (struct config_executor){.name = name,
                                        .vertex = {.project = project,
                                                   .region = region,
                                                   .bucket = bucket,
                                                   .machine_type = machine,
                                                   .accelerator_count = 1,
                                                   .disk_type = disk,
                                                   .disk_gb = 100,
                                                   .container_uri = image}};
}

static int plan(const struct config_executor *c, const struct nb_environment *e,
                struct nb_buf *body, struct nb_err *err)
{
        const struct exec_job job = {.ref = "nbcid-x-1",
                                     .commit = "0123456789abcdef0123456789abcdef01234567",
                                     .notebook = "deep/\"a\" b.ipynb",
                                     .environment = e,
                                     .timeout_us = 90 * NB_US_PER_S + 1,
                                     .cell_timeout_us = 10 * NB_US_PER_S};

        return far_vertex.plan(c,
                               &(struct far_plan){.job = &job,
                                                  .label = "nbcid-x-1",
                                                  .group = "nbcid-x",
                                                  .input = "gs://b/p/input.ipynb",
                                                  .output = "gs://b/p/output.ipynb"},
                               body, err);
}

static void check_plan(const struct config_executor *c, const struct nb_environment *e,
                       const char *const *want)
{
        nb_auto_buf body = NB_BUF(1 << 16);
        struct nb_err err;

        CHECK_OK(plan(c, e, &body, &err), &err);
        for (; *want; want++)
                if (!strstr(nb_buf_str(&body), *want))
                        FAIL("no %s in %s", *want, nb_buf_str(&body));
}

TEST(everything_about_a_job_is_explicit)
{
        struct config_executor c = config();
        char gpu[] = "NVIDIA_TESLA_T4", account[] = "a@b.iam.gserviceaccount.com",
             network[] = "projects/1/global/networks/n";
        struct nb_environment e = {0};

        check_plan(&c, &e,
                   (const char *const[]){
                           "{\"displayName\":\"01234567 deep/\\\"a\\\" b.ipynb\"",
                           "\"nbcid-attempt\":\"nbcid-x-1\"", "\"nbcid-instance\":\"nbcid-x\"",
                           "\"nbcid-commit\":\"0123456789abcdef0123456789abcdef01234567\"",
                           "\"machineSpec\":{\"machineType\":\"n1-standard-4\"}",
                           "\"replicaCount\":\"1\"",
                           "{\"bootDiskType\":\"pd-ssd\",\"bootDiskSizeGb\":100}",
                           "\"imageUri\":\"docker.io/a/b:1\"",
                           "\"command\":[\"papermill\",\"/gcs/b/p/input.ipynb\","
                           "\"/gcs/b/p/output.ipynb\",\"--kernel\",\"python3\","
                           "\"--execution-timeout\",\"10\"]",
                           "\"timeout\":\"91s\"", "\"strategy\":\"STANDARD\"",
                           "\"disableRetries\":true", NULL});
        c.vertex.accelerator_type = gpu;
        c.vertex.service_account = account;
        c.vertex.network = network;
        c.vertex.spot = true;
        check_plan(&c, &e,
                   (const char *const[]){
                           "\"acceleratorType\":\"NVIDIA_TESLA_T4\",\"acceleratorCount\":1",
                           "\"serviceAccount\":\"a@b.iam.gserviceaccount.com\"",
                           "\"network\":\"projects/1/global/networks/n\"", "\"strategy\":\"SPOT\"",
                           NULL});
}

TEST(a_submitters_own_place)
{
        const struct exec_place place = {
                .title = "my_job", .folder = "gs://b/p/folder", .cwd = "gs://b/p/folder/sub"};
        const struct exec_job job = {.ref = "my_job-1",
                                     .place = &place,
                                     .notebook = "a.ipynb",
                                     .timeout_us = NB_US_PER_S};
        struct config_executor c = config();
        nb_auto_buf body = NB_BUF(1 << 16);
        struct nb_err err;

        CHECK_OK(far_vertex.plan(&c,
                                 &(struct far_plan){.job = &job,
                                                    .label = "my_job-1",
                                                    .group = "my_job",
                                                    .input = "gs://b/i",
                                                    .output = "gs://b/o"},
                                 &body, &err),
                 &err);
        CHECK(strstr(nb_buf_str(&body), "{\"displayName\":\"my_job\""));
        CHECK(!strstr(nb_buf_str(&body), "nbcid-commit"));
        CHECK(strstr(nb_buf_str(&body), "\"nbcid\",\"/gcs/b/p/folder/sub\",\".\","
                                        "\"papermill\",\"/gcs/b/i\",\"/gcs/b/o\""));
        CHECK(strstr(nb_buf_str(&body), "\"env\":[{\"name\":\"NBCID_INPUT_FOLDER\","
                                        "\"value\":\"/gcs/b/p/folder\"}]"));
}

TEST(the_image_is_the_operators_then_the_notebooks_then_the_default)
{
        static char old[] = "gcr.io/deeplearning-platform-release/tf-gpu.1-15:m43",
                    own[] = "docker.io/c/d", local[] = "local-pytorch", r[] = "R";
        struct config_executor c = config();
        struct nb_environment e = {.image = old, .kernel = local};

        check_plan(&c, &e,
                   (const char *const[]){
                           "\"imageUri\":\"us-docker.pkg.dev/deeplearning-platform-release/gcr.io/"
                           "tf-gpu.1-15:m43\"",
                           "\"args\":[\"nbexecutor\",\"--input-notebook=gs://b/p/input.ipynb\","
                           "\"--output-notebook=gs://b/p/output.ipynb\",\"--kernel-name=python3\"]",
                           NULL});
        e.kernel = NULL;
        e.language = r;
        c.vertex.image = own;
        check_plan(&c, &e, (const char *const[]){"\"imageUri\":\"docker.io/c/d\"", "\"ir\"", NULL});
}

TEST(what_is_no_image_is_refused)
{
        char bad[][8] = {"a b", "x;rm", "-x", "", "$(x)", "a\"b"};

        for (size_t i = 0; i < NB_ARRAY_SIZE(bad); i++) {
                struct config_executor c = config();
                struct nb_environment e = {.image = bad[i]};
                nb_auto_buf body = NB_BUF(1 << 16);
                struct nb_err err;

                c.vertex.container_uri = NULL;
                CHECK_INT(plan(&c, &e, &body, &err), -NB_E_INVALID);
                CHECK(strstr(err.msg, "container_uri"));
                CHECK_INT(plan(&c, NULL, &body, &err), -NB_E_INVALID);
        }
}

TEST(the_command_is_a_template)
{
        struct config_executor c = config();
        char kernel[] = "k";
        struct nb_environment e = {.kernel = kernel};

        CHECK_INT(nb_strv_add(&c.vertex.run, "x={input_uri}:{kernel}"), 0);
        CHECK_INT(nb_strv_add(&c.vertex.run, "{output}"), 0);
        check_plan(&c, &e,
                   (const char *const[]){"\"command\":[\"x=gs://b/p/input.ipynb:k\","
                                         "\"/gcs/b/p/output.ipynb\"]",
                                         NULL});
        nb_strv_done(&c.vertex.run);
}

TEST(a_checkout_that_goes_along_is_entered_first)
{
        struct config_executor c = config();
        const struct exec_job job = {
                .ref = "r-1", .commit = "01234567", .notebook = "deep/$(x) '\"/a.ipynb"};
        static const char *const want[] = {
                "",
                "\"command\":[\"sh\",\"-c\",\"d=\\\"${TMPDIR:-/tmp}/",
                "\"command\":[\"sh\",\"-c\",\"cd -- \\\"$1/$2\\\"",
        };

        for (int kind = WORKSPACE_ARCHIVE; kind < WORKSPACE_KIND__COUNT; kind++) {
                nb_auto_buf body = NB_BUF(1 << 16);
                struct nb_err err;

                CHECK_OK(far_vertex.plan(&c,
                                         &(struct far_plan){.job = &job,
                                                            .label = "r-1",
                                                            .group = "r",
                                                            .input = "gs://b/i",
                                                            .output = "gs://b/o",
                                                            .workspace_kind = kind,
                                                            .workspace = "gs://b/w"},
                                         &body, &err),
                         &err);
                CHECK(strstr(nb_buf_str(&body), want[kind]));
                CHECK(strstr(nb_buf_str(&body), "\"nbcid\",\"/gcs/b/w\",\"deep/$(x) '\\\"\","
                                                "\"papermill\",\"/gcs/b/i\""));
        }
}

TEST(images_have_commands_of_their_own)
{
        struct config_executor c = config();
        char acme[] = "docker.io/acme/**", all[] = "**";
        struct config_rule rules[] = {{.image = acme, .entrypoint = true}, {.image = all}};
        struct nb_environment e = {0};
        char other[] = "docker.io/other/x:1", own[] = "docker.io/acme/deep/x:1";

        CHECK_INT(nb_strv_add(&rules[0].run, "first={input}"), 0);
        CHECK_INT(nb_strv_add(&rules[1].run, "second={input}"), 0);
        CHECK_INT(nb_strv_add(&c.vertex.run, "third={input}"), 0);
        c.vertex.rules = rules;
        c.vertex.n_rules = 1;
        e.image = own;
        check_plan(&c, &e,
                   (const char *const[]){"\"args\":[\"first=/gcs/b/p/input.ipynb\"]", NULL});
        e.image = other;
        check_plan(&c, &e, (const char *const[]){"\"command\":[\"third=/gcs/", NULL});
        c.vertex.n_rules = 2;
        check_plan(&c, &e, (const char *const[]){"\"command\":[\"second=/gcs/", NULL});
        nb_strv_done(&rules[0].run);
        nb_strv_done(&rules[1].run);
        nb_strv_done(&c.vertex.run);
}

TEST(addresses)
{
        struct config_executor c = config();
        nb_auto_free char *submit = far_vertex.submit_url(&c, "acme", "us-central1");
        nb_auto_free char *job = far_vertex.job_url(&c, "projects/1/locations/eu-west4/customJobs/"
                                                        "7");
        nb_auto_free char *cancel =
                far_vertex.cancel_url(&c, "projects/1/locations/us-central1/customJobs/7");
        nb_auto_free char *find = far_vertex.find_url(&c, "acme", "us-east1", "l-1", -1, NULL);
        nb_auto_free char *placed = far_vertex.find_url(&c, "acme", "us-east1", "l-1", 2, "to ken");
        nb_auto_free char *alive = far_vertex.alive_url(&c, "us-central1", "g", "a/b+c");

        CHECK_STR(submit, "https://us-central1-aiplatform.googleapis.com/v1/projects/acme/"
                          "locations/us-central1/customJobs");
        CHECK_STR(job, "https://eu-west4-aiplatform.googleapis.com/v1/projects/1/locations/"
                       "eu-west4/customJobs/7");
        CHECK_STR(cancel, "https://us-central1-aiplatform.googleapis.com/v1/projects/1/locations/"
                          "us-central1/customJobs/7:cancel");
        CHECK(nb_starts_with(find, "https://us-east1-aiplatform.googleapis.com/v1/projects/acme/"
                                   "locations/us-east1/customJobs?"));
        CHECK(nb_ends_with(find, "&filter=labels.nbcid-attempt%3D%22l-1%22"));
        CHECK(nb_ends_with(placed,
                           "%22l-1%22%20AND%20labels.nbcid-place%3D%222%22&pageToken=to%20ken"));
        CHECK(strstr(alive, "&filter=labels.nbcid-instance%3D%22g%22%20AND%20state%21%3D"));
        CHECK(strstr(alive, "&pageToken=a%2Fb%2Bc"));
}

TEST(a_private_endpoint_may_name_the_region)
{
        struct config_executor c = config();
        char url[] = "https://{region}.private.example/x", fixed[] = "http://127.0.0.1:1";
        nb_auto_free char *submit = NULL, *job = NULL, *plain = NULL;

        c.vertex.api_url = url;
        submit = far_vertex.submit_url(&c, "acme", "us-east1");
        job = far_vertex.job_url(&c, "projects/1/locations/eu-west4/customJobs/7");
        c.vertex.api_url = fixed;
        plain = far_vertex.job_url(&c, "projects/1/locations/eu-west4/customJobs/7");
        CHECK_STR(submit, "https://us-east1.private.example/x/v1/projects/acme/locations/us-east1/"
                          "customJobs");
        CHECK_STR(job, "https://eu-west4.private.example/x/v1/projects/1/locations/eu-west4/"
                       "customJobs/7");
        CHECK_STR(plain, "http://127.0.0.1:1/v1/projects/1/locations/eu-west4/customJobs/7");
}

TEST(labels)
{
        char label[FAR_LABEL_SIZE], other[FAR_LABEL_SIZE];

        far_label("nbcid-AB-1", label);
        CHECK_STR(label, "nbcid-ab-1");
        far_label("acme/notebooks", label);
        CHECK_INT(strlen(label), 40);
        far_label("acme_notebooks", other);
        CHECK(!nb_streq(label, other));
        far_label("", label);
        CHECK_INT(strlen(label), 40);
        far_label("0123456789012345678901234567890123456789012345678901234567890123", label);
        CHECK_INT(strlen(label), 40);
}

static struct nb_json_tree *read_tree(const char *text)
{
        const struct nb_json_limits limits = {.bytes = 1 << 16, .depth = 16};
        struct nb_json_tree *t = NULL;
        struct nb_err err;

        CHECK_OK(nb_json_read(text, strlen(text), &limits, &t, NULL, &err), &err);
        return t;
}

static void add_line(void *arg, const char *text)
{
        (void)nb_buf_printf(arg, "%s|", text);
}

TEST(the_containers_log)
{
        struct config_executor c = config();
        static const char *const times[] = {"2026-11-25T17:00:00.123Z", NULL, "\" OR true"};
        nb_auto_free char *url = far_vertex.log_url(&c);
        NB_CLEANUP(nb_json_freep)
        struct nb_json_tree *t =
                read_tree("{\"entries\":[{\"timestamp\":\"2026-11-25T17:00:00.123456Z\","
                          "\"textPayload\":\"a\"},"
                          "{\"jsonPayload\":{\"message\":\"b\"}},{\"jsonPayload\":{\"x\":1}},7],"
                          "\"nextPageToken\":\"n\"}");
        nb_auto_buf lines = NB_BUF(4096);
        const char *token;

        CHECK_STR(url, "https://logging.googleapis.com/v2/entries:list");
        for (size_t i = 0; i < NB_ARRAY_SIZE(times); i++) {
                nb_auto_buf body = NB_BUF(4096);

                far_vertex.log_body(&c, "projects/1/locations/r/customJobs/7", times[i],
                                    i ? "t" : NULL, 50, &body);
                CHECK(strstr(nb_buf_str(&body), "{\"resourceNames\":[\"projects/acme\"],\"filter\":"
                                                "\"resource.type=\\\"ml_job\\\" AND "
                                                "resource.labels.job_id=\\\"7\\\""));
                CHECK_INT(strstr(nb_buf_str(&body), "timestamp>=") != NULL, i == 0);
                CHECK_INT(strstr(nb_buf_str(&body), "\"pageToken\":\"t\"") != NULL, i > 0);
        }
        far_vertex.log_read(nb_json_root(t), add_line, &lines, &token);
        CHECK_STR(nb_buf_str(&lines), "2026-11-25T17:00:00 a| b|");
        CHECK_STR(token, "n");
}

/* ---- replies ---- */

#define NAME "\"name\":\"projects/1/locations/r/customJobs/7\""
#define LABELS "\"labels\":{\"nbcid-attempt\":\"a\"}"

TEST(jobs_that_are_not_ours_or_no_jobs_are_skipped)
{
        static const char *const bad[] = {
                "{}",
                "[]",
                "{" NAME "}",
                "{" LABELS "}",
                "{" NAME ",\"labels\":{\"nbcid-attempt\":7}}",
                "{\"name\":\"projects/1/../customJobs/7\"," LABELS "}",
                "{\"name\":\"projects/1/customJobs/7?x=1\"," LABELS "}",
                "{\"name\":\"http://x/projects/1/customJobs/7\"," LABELS "}",
        };
        struct far_job j;

        for (size_t i = 0; i < NB_ARRAY_SIZE(bad); i++) {
                NB_CLEANUP(nb_json_freep) struct nb_json_tree *t = read_tree(bad[i]);

                if (far_vertex.read(nb_json_root(t), &j))
                        FAIL("%s", bad[i]);
        }
}

TEST(a_list_may_be_empty)
{
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *none = read_tree("{}");
        NB_CLEANUP(nb_json_freep)
        struct nb_json_tree *some =
                read_tree("{\"customJobs\":[{" NAME "," LABELS "}],\"nextPageToken\":\"t\"}");
        const char *token;
        struct far_job j;

        CHECK_INT(nb_json_size(far_vertex.read_list(nb_json_root(none), &token)), 0);
        CHECK(!token);
        CHECK(far_vertex.read(nb_json_index(far_vertex.read_list(nb_json_root(some), &token), 0),
                              &j));
        CHECK_STR(token, "t");
        CHECK_INT(j.state, FAR_WAITING); /* a fresh job has no state yet */
}

TEST(ends)
{
#define EXIT "\"code\":3,\"message\":\"The replica exited with a non-zero status of 127. More\""
        static const struct {
                const char *job;
                bool cancel;
                enum run_class class;
                bool look, must;
                int status;
        } cases[] = {
                {"\"state\":\"JOB_STATE_SUCCEEDED\"", false, CLASS_PASSED, true, true, 0},
                {"\"state\":\"JOB_STATE_SUCCEEDED\"", true, CLASS_PASSED, true, true, 0},
                {"\"state\":\"JOB_STATE_FAILED\",\"error\":{" EXIT "}", false, CLASS_CELL_ERROR,
                 true, false, 127},
                {"\"state\":\"JOB_STATE_FAILED\",\"error\":{\"code\":3,\"message\":\"bad image\"}",
                 false, CLASS_CONFIGURATION, false, false, 0},
                {"\"state\":\"JOB_STATE_FAILED\",\"error\":{\"code\":7,\"message\":\"no\"}", false,
                 CLASS_PERMISSION, false, false, 0},
                {"\"state\":\"JOB_STATE_FAILED\",\"error\":{\"code\":14}", false,
                 CLASS_INFRASTRUCTURE, false, false, 0},
                {"\"state\":\"JOB_STATE_FAILED\",\"error\":{\"code\":8,\"message\":\"x\"}", false,
                 CLASS_CAPACITY, false, false, 0},
                {"\"state\":\"JOB_STATE_FAILED\",\"error\":{\"code\":13}", false,
                 CLASS_INFRASTRUCTURE, false, false, 0},
                {"\"state\":\"JOB_STATE_FAILED\",\"error\":{\"code\":4}", false, CLASS_TIMEOUT,
                 false, false, 0},
                {"\"state\":\"JOB_STATE_FAILED\"", false, CLASS_INFRASTRUCTURE, false, false, 0},
                {"\"state\":\"JOB_STATE_CANCELLED\",\"error\":{\"code\":1}", true, CLASS_CANCELLED,
                 false, false, 0},
                {"\"state\":\"JOB_STATE_CANCELLED\",\"error\":{\"code\":1}", false, CLASS_CANCELLED,
                 false, false, 0},
                {"\"state\":\"JOB_STATE_CANCELLED\",\"error\":{\"code\":4}", false, CLASS_TIMEOUT,
                 false, false, 0},
                {"\"state\":\"JOB_STATE_CANCELLED\",\"startTime\":\"2026-01-01T00:00:00.5Z\","
                 "\"endTime\":\"2026-01-01T00:01:00Z\"",
                 false, CLASS_TIMEOUT, false, false, 0},
                {"\"state\":\"JOB_STATE_CANCELLED\",\"startTime\":\"2026-01-01T00:00:01Z\","
                 "\"endTime\":\"2026-01-01T00:00:59Z\"",
                 false, CLASS_TIMEOUT, false, false, 0},
                {"\"state\":\"JOB_STATE_CANCELLED\",\"startTime\":\"2026-01-01T00:00:03Z\","
                 "\"endTime\":\"2026-01-01T00:00:59Z\"",
                 false, CLASS_CANCELLED, false, false, 0},
                {"\"state\":\"JOB_STATE_EXPIRED\"", false, CLASS_CAPACITY, false, false, 0},
                {"\"state\":\"JOB_STATE_EXPIRED\",\"startTime\":\"2026-01-01T00:00:00Z\"", false,
                 CLASS_TIMEOUT, false, false, 0},
                {"\"state\":\"JOB_STATE_PARTIALLY_SUCCEEDED\"", false, CLASS_INFRASTRUCTURE, true,
                 false, 0},
        };

        for (size_t i = 0; i < NB_ARRAY_SIZE(cases); i++) {
                nb_auto_free char *text = nb_asprintf("{" NAME "," LABELS ",%s}", cases[i].job);
                NB_CLEANUP(nb_json_freep) struct nb_json_tree *t = read_tree(text);
                struct far_job j;
                struct far_end e;

                CHECK(far_vertex.read(nb_json_root(t), &j));
                CHECK(far_state_final(j.state));
                far_vertex.end(&j, cases[i].cancel, 60 * NB_US_PER_S, &e);
                if (e.class != cases[i].class || e.look != cases[i].look ||
                    e.must != cases[i].must || e.status != cases[i].status)
                        FAIL("%s: %s", cases[i].job, run_class_name(e.class));
        }
}

TEST(why_a_submission_is_refused)
{
        static const struct {
                int code;
                const char *text;
                enum far_refusal why;
        } cases[] = {
                {8, "The following quota metrics exceed quota limits: x", FAR_QUOTA},
                {8, "Quota exceeded for quota metric 'x' and limit 'y per minute'", FAR_RATE_LIMIT},
                {8, "Resources are insufficient in region: us-central1.", FAR_NO_ROOM},
                {7, "Permission denied", FAR_REFUSED},
                {3, "List of found errors", FAR_REFUSED},
                {0, "", FAR_REFUSED},
        };

        for (size_t i = 0; i < NB_ARRAY_SIZE(cases); i++)
                if (far_vertex.refusal(cases[i].code, cases[i].text) != cases[i].why)
                        FAIL("%s", cases[i].text);
}

TEST(each_place_has_its_own_machine)
{
        struct config_executor c = config();
        char east[] = "us-east1", machine[] = "g2-standard-8", gpu[] = "NVIDIA_L4";
        struct config_place places[] = {{.region = east,
                                         .machine_type = machine,
                                         .accelerator_type = gpu,
                                         .accelerator_count = 2,
                                         .spot = true}};
        const struct exec_job job = {.ref = "r-1", .commit = "01234567", .notebook = "a.ipynb"};
        nb_auto_buf body = NB_BUF(1 << 16);
        struct nb_err err;

        c.vertex.fallbacks = places;
        c.vertex.n_fallbacks = 1;
        CHECK_OK(far_vertex.plan(&c,
                                 &(struct far_plan){.job = &job,
                                                    .label = "r-1",
                                                    .group = "r",
                                                    .input = "gs://b/i",
                                                    .output = "gs://b/o",
                                                    .place = 1},
                                 &body, &err),
                 &err);
        CHECK(strstr(nb_buf_str(&body), "{\"machineType\":\"g2-standard-8\",\"acceleratorType\":"
                                        "\"NVIDIA_L4\",\"acceleratorCount\":2}"));
        CHECK(strstr(nb_buf_str(&body), "\"nbcid-place\":\"1\""));
        CHECK(strstr(nb_buf_str(&body), "\"strategy\":\"SPOT\""));
}

NBTEST_MAIN()
