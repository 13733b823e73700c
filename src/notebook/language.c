/* SPDX-License-Identifier: Apache-2.0 */
#include <nbcid/notebook.h>

#include <string.h>

/* kernelspecs as their makers install them, with what versions add behind: IPython's python3,
 * IRkernel's ir, IJulia's julia-1.10, bash_kernel's bash, ... */
static const struct {
        const char *kernel, *language;
} kernels[] = {
        {"python", "python"},  {"xpython", "python"}, {"ir", "R"},
        {"xr", "R"},           {"julia", "julia"},    {"bash", "bash"},
        {"octave", "octave"},  {"scala", "scala"},    {"javascript", "javascript"},
        {"java", "java"},      {"xcpp", "c++"},       {"rust", "rust"},
        {"gophernotes", "go"}, {"sas", "sas"},        {"stata", "stata"},
};

static bool is_letter(char c)
{
        return ((unsigned char)c | 0x20) >= 'a' && ((unsigned char)c | 0x20) <= 'z';
}

const char *notebook_kernel_language(const char *kernel)
{
        for (size_t i = 0; kernel && i < NB_ARRAY_SIZE(kernels); i++) {
                size_t n = strlen(kernels[i].kernel);

                /* two letters may begin any word */
                if (strncasecmp(kernel, kernels[i].kernel, n) == 0 &&
                    (n > 2 || !is_letter(kernel[n])))
                        return kernels[i].language;
        }
        return NULL;
}

bool notebook_language_is_python(const char *language)
{
        return language &&
               (strcasecmp(language, "python") == 0 || strcasecmp(language, "ipython") == 0 ||
                strcasecmp(language, "python3") == 0);
}
