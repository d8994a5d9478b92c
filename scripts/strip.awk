# Turns a reference file into a starter: see "Markers" in CONTRIBUTING.md.
#   -v stage=NN-name   for the messages of the stubs
#   -v keep=N          leave the solution of TODO 1 to N in
#   -v clean=1         leave every solution in and take out the markers alone

function stop(message) {
    printf "%s:%d: %s\n", FILENAME, FNR, message > "/dev/stderr"
    failed = 1
    exit 1
}

# Two statements that say what is to be done, and end the program.
function todo() {
    return sprintf("%sfputs(\"TODO %d is not done: \"\n" \
                   "%s      \"%s\\n\"\n" \
                   "%s      \"(labs/%s/%s; read handouts/%s.md)\\n\",\n" \
                   "%s      stderr);\n%sexit(3);\n",
                   indent, number, indent, title, indent, stage, name, stage,
                   indent, indent)
}

BEGIN {
    if (clean)
        keep = 1000
    name = ARGV[1]
    sub(/.*\//, "", name)
}

# The first line of a marker: /* TODO 3: send back what comes ...
/^ *\/\* TODO [0-9]+: ./ {
    if (open)
        stop("TODO inside TODO " open)
    match($0, /^ */)
    indent = substr($0, 1, RLENGTH)
    number = $3 + 0
    if (seen[number]++)
        stop("TODO " number " a second time")
    title = $0
    sub(/^[^:]*: /, "", title)
    sub(/[.:]? *(\*\/)?$/, "", title)
    gsub(/["\\]/, "", title)
    open = number
    in_comment = !/\*\//
    stub = ""
    if (!in_comment)
        stop("TODO " number " has no STUB line")
    if (!clean)
        print
    next
}

open && in_comment && /^ *\* STUB:/ {
    text = $0
    sub(/^ *\* STUB: ?/, "", text)
    stub = stub (text == "todo" ? todo() : text == "" ? "\n" : indent text "\n")
    if (open <= keep && !clean)
        print
    next
}

open && in_comment && /\*\// {
    if (stub == "")
        stop("TODO " open " has no STUB line")
    in_comment = 0
    if (!clean)
        print
    if (open > keep)
        printf "%s", stub
    next
}

/^ *\/\* END TODO [0-9]+ \*\/$/ {
    if (!open)
        stop("END TODO " $4 " without TODO " $4)
    if ($4 + 0 != open)
        stop("END TODO " $4 " closes TODO " open)
    if (open <= keep && !clean)
        print
    open = 0
    next
}

# What looks like a marker and is none would be handed out as it stands.
/TODO|STUB:|END TODO/ && !(open && in_comment) {
    stop("not a marker, or not where one can stand: " $0)
}

!open || (in_comment ? !clean : open <= keep)

END {
    if (!failed && open) {
        printf "%s: TODO %d is not closed\n", FILENAME, open > "/dev/stderr"
        exit 1
    }
    if (failed)
        exit 1
}
