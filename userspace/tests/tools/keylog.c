/* Makes a program that uses OpenSSL write the keys of its connections to $SSLKEYLOGFILE, when it has no option for that:
 *
 *     gcc -shared -fPIC -o keylog.so keylog.c -ldl
 *     SSLKEYLOGFILE=keys.log LD_PRELOAD=./keylog.so nghttp ...
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

static void write_line(const void *connection, const char *line)
{
    (void)connection;
    FILE *log = fopen(getenv("SSLKEYLOGFILE"), "a");
    if (log != NULL) {
        fprintf(log, "%s\n", line);
        fclose(log);
    }
}

void *SSL_new(void *context)
{
    void *(*make)(void *) = (void *(*)(void *))dlsym(RTLD_NEXT, "SSL_new");
    void (*set)(void *, void (*)(const void *, const char *)) =
        (void (*)(void *, void (*)(const void *, const char *)))dlsym(RTLD_DEFAULT, "SSL_CTX_set_keylog_callback");
    if (set != NULL && getenv("SSLKEYLOGFILE") != NULL)
        set(context, write_line);
    return make(context);
}
