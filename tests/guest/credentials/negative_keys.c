/* request_key(2) of what nobody can make: a negative key remembers it. Where it is put, and what can be done with it. */
#include "check.h"
#include <linux/keyctl.h>

#define add(type, name, data, size, ring) syscall(SYS_add_key, type, name, data, size, ring)
#define ctl(...) syscall(SYS_keyctl, __VA_ARGS__)

/* ENOENT where the host has no program that makes keys, else ENOKEY. */
static void want(const char *what, const char *type, const char *name, const char *callout, int ring)
{
    long id = syscall(SYS_request_key, type, name, callout, ring);
    const char *why = id >= 0 ? "found" : errno == ENOENT || errno == ENOKEY ? "no such key" : strerrorname_np(errno);
    say("%s: %s", what, why);
}

static int links(int ring, int *ids)
{
    long n = ctl(KEYCTL_READ, ring, ids, 16 * sizeof *ids);
    if (n < 0) {
        say("ring: %s", strerrorname_np(errno));
        return 0;
    }
    say("ring: %ld", n / (long)sizeof *ids);
    return n / sizeof *ids;
}

int main(void)
{
    int ids[16] = {0};
    char text[100];
    MUST(ctl(KEYCTL_JOIN_SESSION_KEYRING, NULL));
    want("not asked for", "user", "one", NULL, KEY_SPEC_PROCESS_KEYRING);
    links(KEY_SPEC_PROCESS_KEYRING, ids);
    want("asked for", "user", "one", "please", KEY_SPEC_PROCESS_KEYRING);
    links(KEY_SPEC_PROCESS_KEYRING, ids);
    int key = ids[0];
    want("again", "user", "one", NULL, 0);
    SHOW(ctl(KEYCTL_SEARCH, KEY_SPEC_PROCESS_KEYRING, "user", "one", 0));
    SHOW(ctl(KEYCTL_SEARCH, KEY_SPEC_PROCESS_KEYRING, "user", "two", 0));
    SHOW(ctl(KEYCTL_READ, key, text, sizeof text));
    SHOW(ctl(KEYCTL_DESCRIBE, key, text, sizeof text) > 0);
    SHOW(ctl(KEYCTL_LINK, key, KEY_SPEC_SESSION_KEYRING));
    SHOW(ctl(KEYCTL_SETPERM, key, 0x3f3f0000));
    SHOW(ctl(KEYCTL_SET_TIMEOUT, key, 100));
    SHOW(ctl(KEYCTL_REVOKE, key));
    /* Given a content it is as any other. */
    SHOW(add("user", "one", "abc", 3, KEY_SPEC_PROCESS_KEYRING) == key);
    SHOW(ctl(KEYCTL_READ, key, text, sizeof text));
    want("given", "user", "one", NULL, 0);
    SHOW(ctl(KEYCTL_UNLINK, key, KEY_SPEC_PROCESS_KEYRING));
    want("keyring", "keyring", "ring", "please", KEY_SPEC_PROCESS_KEYRING);
    links(KEY_SPEC_PROCESS_KEYRING, ids);
    /* Where they go if nobody says. */
    SHOW(ctl(KEYCTL_SET_REQKEY_KEYRING, KEY_REQKEY_DEFL_SESSION_KEYRING));
    want("to the session", "user", "three", "please", 0);
    links(KEY_SPEC_SESSION_KEYRING, ids);
    SHOW(ctl(KEYCTL_SETPERM, KEY_SPEC_SESSION_KEYRING, 0x0b000000));
    want("where it may not", "user", "four", "please", 0);
    links(KEY_SPEC_SESSION_KEYRING, ids);
    return 0;
}
