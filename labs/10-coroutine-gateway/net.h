/*
 * Sockets: what every server of this stage does in the same way as the echo
 * servers before it. Functions without a result end the program, with a message
 * and status 1, if there is no way to go on. Threads: any.
 */
#ifndef NET_H
#define NET_H

/* A port number from text, 0 to 65535; -1: it is none. */
int net_port(const char *text);

/* A socket that is bound to addr:port; nobody can connect to it yet. */
int net_bind(const char *addr, const char *port);

/* The same, listening. */
int net_listen(const char *addr, const char *port);

/* Says, once, that clients may come: "listening on 127.0.0.1:4000". */
void net_announce(int socket);

void net_set_nonblocking(int fd);

/* SIGTERM and SIGINT as a descriptor that becomes readable when one has come.
 * SIGPIPE is ignored from now on: a write to a lost client fails with EPIPE.
 */
int net_signals(void);

/* Allows this process as many descriptors as the administrator permits. */
void net_raise_limit(void);

#endif
