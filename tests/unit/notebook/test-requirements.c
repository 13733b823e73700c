/* SPDX-License-Identifier: Apache-2.0 */
/* pip's requirements files: their normal form, and what they may not do. */
#include <nbcid/notebook_environment.h>
#include <nbcid/str.h>

#include "nbtest.h"

#define ALL \
        (REQUIREMENTS_VCS | REQUIREMENTS_URL | REQUIREMENTS_FILE | REQUIREMENTS_EDITABLE | \
         REQUIREMENTS_INDEX)

/* A commit of a few files: path, content, ... */
static int read_file(void *arg, const char *path, struct nb_buf *ret, struct nb_err *err)
{
        const char *const *files = arg;

        for (; *files; files += 2)
                if (nb_streq(files[0], path))
                        return nb_buf_puts(ret, files[1]) < 0 ? nb_fail(err, NB_E_NOMEM, "out") : 1;
        return nb_streq(path, "link.txt") ? nb_fail(err, NB_E_INVALID, "link.txt is a link") : 0;
}

/* What comes of text as the file train/requirements.txt; the last one. */
static const char *normal(const char *text, unsigned allow, const char *const *commit)
{
        static char out[4096];
        const struct notebook_files files = {.read = read_file, .arg = (void *)(uintptr_t)commit};
        struct requirements r = REQUIREMENTS_INIT;
        struct nb_err err = {0};

        if (requirements_read("train/requirements.txt", "train/", text, strlen(text), allow,
                              commit ? &files : NULL, &r, &err) < 0)
                snprintf(out, sizeof(out), "error: %s", err.msg);
        else
                snprintf(out, sizeof(out), "%s%s%s", nb_buf_str(&r.text),
                         r.constraints.len ? "constraints:\n" : "", nb_buf_str(&r.constraints));
        requirements_done(&r);
        return out;
}

TEST(the_normal_form_has_one_requirement_a_line)
{
        static const char *const rows[][2] = {
                {"", ""},
                {"# nothing\n\n  \n\t# more", ""},
                {"numpy", "numpy\n"},
                {"\xef\xbb\xbfnumpy\r\npandas>=2\r\n", "numpy\npandas>=2\n"},
                {"  numpy  ==  1.26   # the last\n", "numpy==1.26\n"},
                {"numpy#egg", "error: "},
                {"a[c, b , c]>=1, <2,!=1.5\n", "a[b,c]>=1,<2,!=1.5\n"},
                {"a [ ] >=1\n", "a>=1\n"},
                {"a (>=1)\nb~=1.0\nc===old+local\nd==1.*\n",
                 "a>=1\nb~=1.0\nc===old+local\nd==1.*\n"},
                {"a; python_version  <  \"3.9\"  \n", "a ; python_version < \"3.9\"\n"},
                {"a ; extra == 'x  y'\n", "a ; extra == \"x  y\"\n"},
                {"a;( os_name=='nt'or extra  not  in 'a\"b')and extra!='it'\n",
                 "a ; (os_name == \"nt\" or extra not in 'a\"b') and extra != \"it\"\n"},
                {"num\\\npy\\\n>=1\n", "numpy>=1\n"},
                {"numpy \\\n  # why\npandas\n", "numpy\npandas\n"},
                {"numpy \\\n", "numpy\n"},
                {"# comment \\\nnumpy\n", "numpy\n"},
                {"a==1 \\\n    --hash=sha256:0aF \\\n    --hash sha512:12\n",
                 "a==1 --hash=sha256:0aF --hash=sha512:12\n"},
                {"--pre\n--no-binary=:all:\n--only-binary a,b\n--prefer-binary\n--require-hashes\n",
                 "--pre\n--no-binary :all:\n--only-binary "
                 "a,b\n--prefer-binary\n--require-hashes\n"},
                {"--pre --no-binary 'a'", "--pre\n--no-binary a\n"},
                {"A.b-C_d\nx__-.Y\n", "a-b-c-d\nx-y\n"},
        };

        for (size_t i = 0; i < NB_ARRAY_SIZE(rows); i++) {
                const char *is = normal(rows[i][0], 0, NULL);
                if (nb_starts_with(rows[i][1], "error") ? !nb_starts_with(is, rows[i][1])
                                                        : !nb_streq(is, rows[i][1]))
                        FAIL("row %zu: \"%s\", not \"%s\"", i, is, rows[i][1]);
        }
}

TEST(the_normal_form_is_its_own_normal_form)
{
        static const char text[] = "a>=1 # x\n-i https://i.example/simple\n--hash\\\n";
        char once[4096];

        snprintf(once, sizeof(once), "%s",
                 normal("a >= 1 ; os_name == 'x' \\\n # y\n--pre\nb @ https://h.example/b.zip\n"
                        "-e git+https://h.example/c#egg=c\n-f \"a b\"\n./d\n",
                        ALL, NULL));
        CHECK_STR(once, "a>=1 ; os_name == \"x\"\n--pre\nb @ https://h.example/b.zip\n"
                        "--editable git+https://h.example/c#egg=c\n--find-links \"a b\"\n./d\n");
        CHECK_STR(normal(once, ALL, NULL), once);
        CHECK(nb_starts_with(normal(text, ALL, NULL),
                             "error: train/requirements.txt:3: \"--hash\""));
}

TEST(urls_have_one_spelling_around_them)
{
        static const char *const rows[][2] = {
                {"B_c[y,x]@https://h.example/B_c.zip", "b-c[x,y] @ https://h.example/B_c.zip\n"},
                {"b  @  https://h.example/b.zip;os_name == 'x'",
                 "b @ https://h.example/b.zip;os_name == 'x'\n"},
                {"b @ https://h.example/b.zip; os_name=='x'",
                 "b @ https://h.example/b.zip ; os_name == \"x\"\n"},
                {"b @ https://h.example/b.zip ;os_name=='x'",
                 "b @ https://h.example/b.zip ; os_name == \"x\"\n"},
                {"https://h.example/B_c.zip  ;  os_name=='x'",
                 "https://h.example/B_c.zip ; os_name=='x'\n"},
                /* with a space they would be a comment and an option */
                {"b@#egg=b", "b@#egg=b\n"},
                {"b@-x", "b@-x\n"},
                {"b@x ;", "b@x ;\n"},
        };

        for (size_t i = 0; i < NB_ARRAY_SIZE(rows); i++) {
                char once[4096];

                snprintf(once, sizeof(once), "%s", normal(rows[i][0], ALL, NULL));
                CHECK_STR(once, rows[i][1]);
                CHECK_STR(normal(once, ALL, NULL), once);
        }
}

TEST(an_environment_from_elsewhere_is_held_against_the_policy)
{
        static const struct {
                const char *requirements, *constraints, *conda;
                unsigned bits; /* with which it is fine; ~0u: never */
                const char *said;
        } rows[] = {
                {"Numpy == 1\n", "a<2", NULL, 0, NULL},
                {"", "", "dependencies:\n- numpy\n", 0, NULL},
                {"a\n-r /etc/passwd", NULL, NULL, ~0u,
                 "x.json requirements:2: \"-r /etc/passwd\" is refused"},
                {NULL, "a\n-c /etc/passwd", NULL, ~0u, "x.json constraints:2: "},
                {"", "--pre", NULL, ~0u, "x.json constraints: hold options"},
                {"a @ git+https://a.example/b", NULL, NULL, REQUIREMENTS_VCS, "--allow vcs"},
                {NULL, "a @ https://a.example/b", NULL, REQUIREMENTS_URL, "--allow url"},
                {"a @ file:///b", NULL, NULL, REQUIREMENTS_FILE, "--allow file"},
                {"-i https://a.example/", NULL, NULL, REQUIREMENTS_INDEX, "--allow index"},
                {"-e git+https://a.example/b", NULL, NULL, REQUIREMENTS_EDITABLE | REQUIREMENTS_VCS,
                 "--allow editable"},
                {NULL, NULL, "dependencies:\n- pip:\n  - -r x\n", ~0u, "x.json conda:3: "},
                {NULL, NULL, "dependencies:\n- pip:\n  - git+https://a.example/b\n",
                 REQUIREMENTS_VCS, "x.json conda:3: "},
        };

        for (size_t i = 0; i < NB_ARRAY_SIZE(rows); i++)
                for (unsigned allow = 0; allow <= ALL; allow++) {
                        NB_CLEANUP(nb_environment_done)
                        struct nb_environment e = {.requirements = nb_strdup(rows[i].requirements),
                                                   .constraints = nb_strdup(rows[i].constraints),
                                                   .conda = nb_strdup(rows[i].conda)};
                        struct nb_err err = {0};
                        int r = environment_hold("x.json", allow, &e, &err);

                        CHECK_INT(r, rows[i].bits & ~allow ? -NB_E_INVALID : 0);
                        if (allow == 0 && rows[i].said)
                                CHECK(strstr(err.msg, rows[i].said));
                        if (i == 0) {
                                CHECK_STR(e.requirements, "numpy==1\n");
                                CHECK_STR(e.constraints, "a<2\n");
                        }
                }
}

TEST(what_is_not_allowed_is_refused_by_name)
{
        static const struct {
                const char *text;
                unsigned bits; /* with which it is fine; 0: never */
                const char *part;
        } rows[] = {
                {"-e ./x", REQUIREMENTS_EDITABLE | REQUIREMENTS_FILE, "an editable install runs"},
                {"-e../x/y", REQUIREMENTS_EDITABLE | REQUIREMENTS_FILE, "an editable install runs"},
                {"--editable=git+https://a.example/b", REQUIREMENTS_EDITABLE | REQUIREMENTS_VCS,
                 "\"editable\" in [environments] allow"},
                {"-i https://a.example/simple", REQUIREMENTS_INDEX, "where packages come from"},
                {"--extra-index-url=https://a.example", REQUIREMENTS_INDEX, "\"index\""},
                {"-fhttps://a.example", REQUIREMENTS_INDEX, "where packages come from"},
                {"--find-links wheels/", REQUIREMENTS_INDEX | REQUIREMENTS_FILE, "\"index\""},
                {"--no-index", REQUIREMENTS_INDEX, "where packages come from"},
                {"--trusted-host a.example", REQUIREMENTS_INDEX, "where packages come from"},
                {"git+https://a.example/b@v1#egg=b", REQUIREMENTS_VCS, "from a repository"},
                {"b @ git+ssh://git@a.example/b", REQUIREMENTS_VCS, "\"vcs\""},
                {"b@https://a.example/b.whl", REQUIREMENTS_URL, "\"url\""},
                {"http://a.example/b.zip ; os_name == 'nt'", REQUIREMENTS_URL, "from a URL"},
                {"b[x] @ file:///etc/b", REQUIREMENTS_FILE, "\"file\""},
                {"FILE:///etc/b", REQUIREMENTS_FILE, "\"file\""},
                {"./b", REQUIREMENTS_FILE, "a file or directory"},
                {"b/c", REQUIREMENTS_FILE, "a file or directory"},
                {"b.tar.gz", REQUIREMENTS_FILE, "a file or directory"},
                {"b>= 1.tar.gz ; os_name == 'x'", REQUIREMENTS_FILE, "a file or directory"},
                {"/opt/b", REQUIREMENTS_FILE, "a file or directory"},
                {"../../b", 0, "it is outside the repository"},
                {"~/b", 0, "it is outside the repository"},
                {"-e ../../b", 0, "it is outside the repository"},
                {"-i https://u:p@a.example/simple", 0, "a password in a URL"},
                {"-i https://tok@a.example/simple", 0, "a password in a URL"},
                {"b @ git+https://tok@a.example/b", 0, "a password in a URL"},
                {"b @ git+ssh://u:p@a.example/b", 0, "a password in a URL"},
                {"-i https://${TOKEN}@a.example/", 0, "reads a variable"},
                {"b==${B_VERSION}", 0, "reads a variable"},
                {"-r x.txt", 0, "it cannot name files here"},
                {"-r https://a.example/r.txt", 0, "reads requirements from a URL"},
                {"b --install-option=--prefix=/", 0, "--install-option=--prefix=/ is no option"},
                {"b --global-option x", 0, "is no option that requirements may have"},
                {"b --config-settings a=b", 0, "is no option"},
                {"b -r x", 0, "is no option"},
                {"b --hash=sha256:x -e .", 0, "has a hash that is none"},
                {"--extra https://a.example", 0, "--extra is no option"}, /* pip would take it */
                {"--index https://a.example", 0, "--index is no option"},
                {"--use-feature x", 0, "is no option"},
                {"--proxy http://a.example", 0, "is no option"},
                {"--pre=1", 0, "is no option"},
                {"-i", 0, "lacks a value behind --index-url"},
                {"-i ''", 0, "lacks a value"},
                {"-r 'a", 0, "a quote that is not closed"},
                {"-r a\\b", 0, "has a backslash"},
                {"--no-binary a;b", 0, "does not name packages"},
        };

        for (size_t i = 0; i < NB_ARRAY_SIZE(rows); i++) {
                const char *is = normal(rows[i].text, rows[i].bits ? 0 : ALL, NULL);
                if (!nb_starts_with(is, "error: train/requirements.txt:1: \"") ||
                    !strstr(is, rows[i].part))
                        FAIL("%s: \"%s\" without \"%s\"", rows[i].text, is, rows[i].part);
                for (unsigned bit = 1; bit < ALL && rows[i].bits; bit <<= 1)
                        if (rows[i].bits & bit &&
                            !nb_starts_with(normal(rows[i].text, ALL & ~bit, NULL), "error: "))
                                FAIL("%s is taken without bit %u", rows[i].text, bit);
                is = normal(rows[i].text, rows[i].bits, NULL);
                if (rows[i].bits && nb_starts_with(is, "error"))
                        FAIL("%s: \"%s\"", rows[i].text, is);
        }
}

TEST(passwords_are_not_repeated)
{
        const char *is = normal("b @ https://joe:s3cret@a.example/b?x=https://t0p@b/", ALL, NULL);

        CHECK(strstr(is, "a password in a URL") && strstr(is, "a.example"));
        CHECK(!strstr(is, "s3cret") && !strstr(is, "joe") && !strstr(is, "t0p"));
}

TEST(garbage_is_told_from_requirements)
{
        static const char *const rows[][2] = {
                {"numpy=1.2", "a single '='"},
                {"numpy 1.2", "no comparison"},
                {"numpy>=", "a comparison without a version"},
                {"numpy>=1 pandas", "one requirement a line"},
                {"numpy pandas", "no comparison"},
                {"numpy-", "a name that ends in"},
                {"==1", "does not begin with the name of a package"},
                {"b[x", "extras that are broken"},
                {"b[x y]", "extras that are broken"},
                {"b[x,]", "extras that are broken"},
                {"b (>=1", "a parenthesis"},
                {"b;", "nothing behind the ';'"},
                {"b ; nonsense ?= 1", "that is no marker"},
                {"b;-r+", "that is no marker"}, /* " ; -r" were an option */
                {"b;--pre", "that is no marker"},
                {"b @", "nothing behind the '@'"},
                {"./b\\ # x", "ends in a backslash"},
                {"-f 'a\"b'", "a quote or a comment inside"},
                {"b \xef\xbb\xbf", "a byte order mark"},
                {"b; os_name == 'x", "a quote that is not closed"},
                {"import numpy as np", "no comparison"},
                {"{\"a\": 1}", "does not begin with"},
                {"b\x01", "control character"},
                {"b\x1b[31m", "control character"},
        };

        for (size_t i = 0; i < NB_ARRAY_SIZE(rows); i++) {
                const char *is = normal(rows[i][0], ALL, NULL);
                if (!nb_starts_with(is, "error: train/requirements.txt:1: ") ||
                    !strstr(is, rows[i][1]))
                        FAIL("%s: \"%s\" without \"%s\"", rows[i][0], is, rows[i][1]);
        }
        CHECK(strstr(normal("b\xff", ALL, NULL), "byte 2 is not UTF-8"));
        CHECK(strstr(normal("\xff\xfe"
                            "b",
                            ALL, NULL),
                     "is UTF-16"));
        /* where Python breaks lines, so do we */
        CHECK(strstr(normal("b # \xe2\x80\xa8-e ../x", 0, NULL), ":2: \"-e ../x\" is refused"));
        CHECK(strstr(normal("b # \xc2\x85-e ../x", 0, NULL), ":2: \"-e ../x\" is refused"));
        CHECK(strstr(normal("b # \f-e ../x", 0, NULL), ":2: \"-e ../x\" is refused"));
        CHECK(strstr(normal("a\nb \\\n>=1 \\\n x", 0, NULL), ":2: \"b >=1  x\""));
}

TEST(other_files_of_the_repository_are_followed)
{
        static const char *const commit[] = {"train/base.txt",
                                             "numpy\n-r ../more/deep.txt",
                                             "more/deep.txt",
                                             "-c limits.txt\nscipy",
                                             "more/limits.txt",
                                             "numpy<2\n--pre\n",
                                             "train/circle.txt",
                                             "-r x/../circle.txt",
                                             "train/back.txt",
                                             "-r requirements.txt",
                                             "train/bad.txt",
                                             "a\n-e .",
                                             NULL};

        CHECK_STR(normal("-r base.txt\n--requirement=base.txt\n", 0, commit),
                  "numpy\n--pre\nscipy\nnumpy\n--pre\nscipy\n"
                  "constraints:\nnumpy<2\nnumpy<2\n");
        CHECK_STR(normal("-c./../more/limits.txt", 0, commit), "--pre\nconstraints:\nnumpy<2\n");
        CHECK(strstr(normal("-r circle.txt", 0, commit), "leads back to train/circle.txt"));
        CHECK(strstr(normal("-r back.txt", 0, commit), "leads back to train/requirements.txt"));
        CHECK(strstr(normal("\n-r none.txt", 0, commit),
                     "train/requirements.txt:2: \"-r none.txt\" names train/none.txt, which the "
                     "commit does not have"));
        CHECK(strstr(normal("-r bad.txt", 0, commit), "train/bad.txt:2: \"-e .\" is refused"));
        CHECK(strstr(normal("-r ../link.txt", 0, commit),
                     "train/requirements.txt:1: link.txt is a link"));
        CHECK(strstr(normal("-r ../../x", ALL, commit), "a file outside the repository"));
        CHECK(strstr(normal("-r /etc/passwd", ALL, commit), "a file outside the repository"));
        CHECK(strstr(normal("-r ~/x", ALL, commit), "a file outside the repository"));
        CHECK(strstr(normal("-r ..", ALL, commit), "a file outside the repository"));
        CHECK(strstr(normal("-r file:///etc/passwd", ALL, commit), "from a URL"));
}

TEST(files_have_a_depth_and_a_number)
{
        static char names[20][2][16];
        const char *commit[41] = {0}, *is;
        char many[1024] = "";

        for (int i = 0; i < 20; i++) {
                snprintf(names[i][0], 16, "train/f%d", i);
                snprintf(names[i][1], 16, "-r f%d", i + 1);
                commit[2 * i] = names[i][0];
                commit[2 * i + 1] = names[i][1];
        }
        is = normal("-r f0", 0, commit);
        CHECK(strstr(is, "train/f6:1: \"-r f7\" is one file too many"));
        for (int i = 0; i < 65; i++)
                memcpy(many + 5 * i, "-r f\n", 6);
        commit[0] = "train/f";
        commit[1] = "a";
        commit[2] = NULL;
        is = normal(many, 0, commit);
        CHECK(strstr(is, ":65: \"-r f\" is one file too many"));
}

TEST(the_normal_form_has_a_ceiling)
{
        const size_t n = REQUIREMENTS_MAX + 64;
        nb_auto_free char *text = malloc(n + 1);
        struct requirements r = REQUIREMENTS_INIT;
        struct nb_err err = {0};

        for (size_t i = 0; i < n; i++)
                text[i] = i % 64 == 63 ? '\n' : 'a';
        text[n] = '\0';
        CHECK_ERR(requirements_read("r.txt", "", text, n, 0, NULL, &r, &err), &err, NB_E_LIMIT,
                  "r.txt:8193: the requirements are over 524288 bytes");
        requirements_done(&r);
        r = REQUIREMENTS_INIT;
        memset(text, 'a', 70000);
        CHECK_ERR(requirements_read("r.txt", "", text, 70000, 0, NULL, &r, &err), &err, NB_E_LIMIT,
                  "r.txt:1: the line is over 65536 bytes");
        requirements_done(&r);
}

TEST(names_of_the_policy)
{
        unsigned bit = 77;

        CHECK(requirements_allow_parse("vcs", &bit) && bit == REQUIREMENTS_VCS);
        CHECK(requirements_allow_parse("index", &bit) && bit == REQUIREMENTS_INDEX);
        CHECK(!requirements_allow_parse("", &bit) && bit == REQUIREMENTS_INDEX);
        CHECK(!requirements_allow_parse("all", &bit));
}

NBTEST_MAIN()
