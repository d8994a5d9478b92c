/* What the two files of coro-scenes share. */
#ifndef SCENES_H
#define SCENES_H

enum { STACK_SIZE = 64 * 1024 };

/* As coro_spawn(), and ends the program if that is not possible. */
void spawn(void (*run)(void *arg), void *arg);

void scene_guards(void);
void scene_overflow(void);
void scene_reuse(void);
void scene_crowd(void);
void scene_registers(void);
void scene_rounding(void);

#endif
