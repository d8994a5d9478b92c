/*
 * The calls of a queue, as the scenarios of stages 07 and 08 announce them.
 */
#pragma once
#include "explore.h"

enum call { PUSH, TRY_PUSH, POP, TRY_POP, CLOSE };
enum answer { DONE, FULL, EMPTY, CLOSED };
void begin(enum call call, long job); /* around each call of the queue */
void end(enum answer answer, long job);
void check_history(void); /* when all is over, and the queue is empty */
