/* SPDX-License-Identifier: Apache-2.0 */
/* addresses, URLs and names: is the text what it should be? */
#include "parse.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/un.h>

#include <nbcid/num.h>
#include <nbcid/str.h>

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

static bool port_valid(const char *text, size_t n, uint64_t min)
{
        char port[8];
        uint64_t v;

        return n > 0 && nb_fmt(port, sizeof(port), "%.*s", (int)n, text) &&
               nb_parse_u64(port, min, 65535, &v, NULL) == 0;
}

/* A host name or an IP address, [IPv6] in brackets, of n bytes. */
static bool host_valid(const char *text, size_t n)
{
        if (n > 2 && text[0] == '[')
                return text[n - 1] == ']' && strspn(text + 1, DIGITS "abcdefABCDEF:.") == n - 2;
        return n > 0 && n <= 253 && strspn(text, LETTERS DIGITS ".-_") >= n && text[0] != '-' &&
               text[0] != '.';
}

/* "host" or "host:port" of n bytes. */
static bool authority_valid(const char *text, size_t n)
{
        const char *colon = memrchr(text, ':', n);
        size_t n_host;

        /* a colon inside of brackets belongs to the address */
        if (!colon || memchr(colon, ']', n - (size_t)(colon - text)))
                return host_valid(text, n);
        n_host = (size_t)(colon - text);
        return host_valid(text, n_host) && port_valid(colon + 1, n - n_host - 1, 1);
}

const char *check_listen(const char *text)
{
        static const char wrong[] = "is not an address; write \"127.0.0.1:8080\", \"[::1]:8080\" "
                                    "or \"unix:/run/nbcid/http.sock\"";
        static const char prefix[] = "unix:";
        const char *colon = strrchr(text, ':');
        char host[INET6_ADDRSTRLEN + 2];
        unsigned char space[sizeof(struct in6_addr)];
        size_t n;

        if (nb_starts_with(text, prefix)) {
                text += strlen(prefix);
                if (strlen(text) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
                        return "names a socket of over 107 bytes (unix(7)); use a shorter path";
                return text[0] == '/' && text[1] ? NULL : wrong;
        }
        if (!colon || !port_valid(colon + 1, strlen(colon + 1), 0))
                return wrong;
        n = (size_t)(colon - text);
        if (n >= sizeof(host))
                return wrong;
        memcpy(host, text, n);
        host[n] = '\0';
        if (host[0] != '[')
                return inet_pton(AF_INET, host, space) == 1 ? NULL : wrong;
        if (host[n - 1] != ']')
                return wrong;
        host[n - 1] = '\0';
        return inet_pton(AF_INET6, host + 1, space) == 1 ? NULL : wrong;
}

/* Behind "scheme://": authority and path, nothing else. */
static const char *check_hierarchy(const char *text, bool user)
{
        size_t n = strcspn(text, "/");
        const char *at = memchr(text, '@', n);

        for (const char *p = text; *p; p++)
                if (*p <= 0x20 || *p >= 0x7f || strchr("?#\\\"<>", *p))
                        return "has something in it that is neither host nor path of a URL";
        if (at && (!user || strspn(text, LETTERS DIGITS "._-") != (size_t)(at - text)))
                return "has a user or a password in it; put the token into token_file";
        if (at) {
                n -= (size_t)(at - text) + 1;
                text = at + 1;
        }
        if (!authority_valid(text, n))
                return "has no valid host; write it as in https://git.example.org";
        return NULL;
}

const char *check_web_url(const char *text)
{
        static const char *const schemes[] = {"https://", "http://"};

        for (size_t i = 0; i < NB_ARRAY_SIZE(schemes); i++)
                if (nb_starts_with(text, schemes[i]))
                        return check_hierarchy(text + strlen(schemes[i]), false);
        return "is not a URL of http or https; write it as in https://ci.example.org";
}

const char *check_clone_base(const char *text)
{
        static const char ssh[] = "ssh://", file[] = "file://";

        if (nb_starts_with(text, ssh))
                return check_hierarchy(text + strlen(ssh), true);
        if (nb_starts_with(text, file))
                return check_absolute(text + strlen(file));
        if (nb_starts_with(text, "http://") || nb_starts_with(text, "https://"))
                return check_web_url(text);
        return "is not a URL of https, http, ssh or file; write it as in https://git.example.org "
               "or ssh://git@git.example.org";
}

const char *check_absolute(const char *text)
{
        return text[0] == '/' ? NULL : "is not an absolute path; begin it with a '/'";
}

const char *check_index_url(const char *text)
{
        const char *host = strstr(text, "://");

        if (host && memchr(host + 3, '@', strcspn(host + 3, "/")))
                return "has a user or a password in it, which every user of this machine could "
                       "see; write it into the file that pip_config names";
        return check_web_url(text);
}

const char *check_allowed(const char *text)
{
        static const char *const words[] = {"vcs", "url", "file", "editable", "index"};

        for (size_t i = 0; i < NB_ARRAY_SIZE(words); i++)
                if (nb_streq(text, words[i]))
                        return NULL;
        return "has an element that is none of \"vcs\", \"url\", \"file\", \"editable\", "
               "\"index\"";
}

const char *check_host(const char *text)
{
        if (!authority_valid(text, strlen(text)))
                return "has an element that is not a host; write it as in \"git.example.org\" or "
                       "\"git.example.org:8443\"";
        return NULL;
}

/* As ssh-keygen -l prints it: 32 bytes are 43 characters of base64, without
 * the padding. */
const char *check_host_key(const char *text)
{
        static const char prefix[] = "SHA256:";
        const char *p = text + strlen(prefix);

        if (!nb_starts_with(text, prefix) || strlen(p) != 43 ||
            strspn(p, LETTERS DIGITS "+/") != 43)
                return "is not a fingerprint; take it from ssh-keyscan HOST | ssh-keygen -lf -, as "
                       "in \"SHA256:...\"";
        return NULL;
}

const char *check_repository(const char *text)
{
        size_t n = strlen(text);

        if (text[0] == '/' || text[n - 1] == '/' || (!strchr(text, '/') && !nb_streq(text, "**")))
                return "is not OWNER/NAME; write it as in \"acme/notebooks\", \"acme/*\" or \"**\"";
        return check_glob(text);
}
