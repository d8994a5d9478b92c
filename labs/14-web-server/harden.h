/* harden.h - gives up what a worker does not need. */
#ifndef HARDEN_H
#define HARDEN_H

/* Becomes `user` (a name), if this process may; empty: stays who it is, but
 * without root's powers. Then nothing can be got back. Afterwards no file can be
 * opened but for reading, and below the directory root, if the kernel has
 * Landlock (since Linux 5.13).
 *
 * Descriptors that are open stay open: listener, log. To be called before any
 * thread is started. Ends the program if what was asked for cannot be done.
 */
void harden(const char *user, int root);

#endif
