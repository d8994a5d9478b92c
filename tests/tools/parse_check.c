/* Checks a request parser (stage 13), with which it is linked.
 *
 * Every input is given to the parser in every way: whole, in two pieces cut at
 * each place, and in small steps; always so that reading behind the last byte
 * is a fault, and that the bytes have moved between two calls. All of that must
 * lead to the same verdict, and no prefix of the input may lead to another.
 *
 *   parse_check cases FILE TOPIC  the cases of one topic in FILE (its format:
 *                                 see tests/13-cases.txt)
 *   parse_check input FILE N      prints the bytes of case N, for http-parse
 *   parse_check expected FILE N   prints what is expected of it
 *   parse_check count FILE        how many cases there are
 *   parse_check generated SEED N  N random requests whose parts are known
 *   parse_check limits            each limit, at the limit and one above
 *   parse_check lookup            http_find, http_is, http_is_nocase
 *   parse_check final             verdicts stay, requests follow one another
 *
 * Exit status: 0, or 1 and what was wrong on stdout.
 */
#include "parse_check.h"
#include "last_word.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int
usage(void)
{
    fputs("usage: parse_check cases FILE TOPIC | input FILE N |\n"
          "       expected FILE N | count FILE | generated SEED N |\n"
          "       limits | chunk-limits | final | lookup\n",
          stderr);
    return 64;
}

static int
check(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    if (argc == 4 && strcmp(what, "cases") == 0)
        return run_topic(argv[2], argv[3]);
    if (argc == 4 && strcmp(what, "input") == 0)
        return print_case(argv[2], atoi(argv[3]), true);
    if (argc == 4 && strcmp(what, "expected") == 0)
        return print_case(argv[2], atoi(argv[3]), false);
    if (argc == 3 && strcmp(what, "count") == 0)
        return count_cases(argv[2]);
    if (argc == 4 && strcmp(what, "generated") == 0)
        return run_generated(strtoull(argv[2], NULL, 10), atoi(argv[3]));
    if (argc == 2 && strcmp(what, "limits") == 0)
        return run_limits();
    if (argc == 2 && strcmp(what, "chunk-limits") == 0)
        return run_chunk_limits();
    if (argc == 2 && strcmp(what, "final") == 0)
        return run_final();
    if (argc == 2 && strcmp(what, "lookup") == 0)
        return run_lookup();
    return usage();
}

int
main(int argc, char **argv)
{
    take_last_word();
    signal(SIGSEGV, on_fault);
    signal(SIGBUS, on_fault);
    int status = check(argc, argv);
    if (status == 0)
        say_last_word();
    return status;
}
