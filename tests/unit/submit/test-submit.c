/* SPDX-License-Identifier: Apache-2.0 */
#include <nbcid/submit.h>

#include "nbtest.h"

static void check_output(const char *input, const char *output)
{
        nb_auto_free char *s = submit_output_of(input);

        CHECK_STR(s, output);
}

TEST(the_output_is_beside_the_input)
{
        check_output("train.ipynb", "train_output.ipynb");
        check_output("/a/b.c/train.ipynb", "/a/b.c/train_output.ipynb");
        check_output("gs://b/x/train.ipynb", "gs://b/x/train_output.ipynb");
        check_output("Train.IPYNB", "Train_output.IPYNB");
        check_output("a.ipynb.ipynb", "a.ipynb_output.ipynb");
        check_output("train", "train_output");
        check_output("dir.ipynb/train", "dir.ipynb/train_output");
        check_output("dir/.ipynb", "dir/.ipynb_output");
}

static void check_id(const char *input, const char *id)
{
        nb_auto_free char *s = submit_job_id(input, INT64_C(1767323045000042));

        CHECK_STR(s, id);
}

TEST(a_job_is_called_by_notebook_and_time)
{
        check_id("/a/train.ipynb", "job_train_ipynb_2026_01_02_03_04_05_000042");
        check_id("gs://b/My model (2).ipynb", "job_My_model_2_ipynb_2026_01_02_03_04_05_000042");
        check_id("\xc3\xa9\xc3\xa9.ipynb", "job__ipynb_2026_01_02_03_04_05_000042");
        check_id(
                "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggg.ipynb",
                "job_aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffff_2026_01_02_03_04_"
                "05_000042");
}

NBTEST_MAIN()
