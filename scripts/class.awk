# The table of a class. Reads for each submission a line `=name`, its results as scripts/format csv
# prints them (`stage,test,status,points,max,"title"`), and perhaps `,,note`. Writes the files
# csv and html.

function escape(s) {
    gsub(/&/, "\\&amp;", s)
    gsub(/</, "\\&lt;", s)
    return s
}

function quoted(s) { # for CSV
    if (s ~ /[",]/) {
        gsub(/"/, "\"\"", s)
        s = "\"" s "\""
    }
    return s
}

/^=/ {
    name[++rows] = substr($0, 2)
    next
}

$1 == "" {
    note[rows] = $3
    next
}

{
    if (!($1 in column)) {
        column[$1] = ++columns
        stage[columns] = $1
    }
    points[rows, $1] += $4
    graded[rows, $1] = 1
    total[rows] += $4
    if (!($2 in title)) {
        title[$2] = $6
        for (i = 7; i <= NF; i++)
            title[$2] = title[$2] "," $i
        gsub(/^"|"$/, "", title[$2])
        gsub(/""/, "\"", title[$2])
        test[++tests] = $2
    }
    tried[$2]++
    if ($3 != "pass" && $3 != "skip")
        failed[$2]++
}

# Stages by their number, tests by how many fail them: insertion sort, as lists are short.
function before(a, b) { return failed[a] / tried[a] > failed[b] / tried[b] }

END {
    for (i = 2; i <= columns; i++)
        for (j = i; j > 1 && stage[j] < stage[j - 1]; j--) {
            swap = stage[j]; stage[j] = stage[j - 1]; stage[j - 1] = swap
        }
    for (i = 2; i <= tests; i++)
        for (j = i; j > 1 && before(test[j], test[j - 1]); j--) {
            swap = test[j]; test[j] = test[j - 1]; test[j - 1] = swap
        }

    printf "name" > csv
    for (c = 1; c <= columns; c++)
        printf ",%s", stage[c] > csv
    print ",total,note" > csv
    for (r = 1; r <= rows; r++) {
        printf "%s", quoted(name[r]) > csv
        for (c = 1; c <= columns; c++)
            printf ",%s", graded[r, stage[c]] ? points[r, stage[c]] : "" > csv
        printf ",%d,%s\n", total[r], note[r] > csv
    }

    print "<!DOCTYPE html>\n<html lang=\"en\"><meta charset=\"utf-8\">" > html
    print "<meta name=\"viewport\" content=\"width=device-width\"><title>Class</title>" > html
    print "<style>:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;" \
        "max-width:70rem;padding:0 1rem}table{border-collapse:collapse;margin:1rem 0}th,td{padding:.2rem .7rem;" \
        "border-bottom:1px solid #8884;text-align:left}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}" \
        ".scroll{overflow-x:auto}</style>" > html
    printf "<h1>%d submissions</h1>\n<div class=\"scroll\"><table><tr><th>name", rows > html
    for (c = 1; c <= columns; c++)
        printf "<th class=\"n\">%s", escape(stage[c]) > html
    print "<th class=\"n\">total<th>" > html
    for (r = 1; r <= rows; r++) {
        printf "<tr><td>%s", escape(name[r]) > html
        for (c = 1; c <= columns; c++)
            printf "<td class=\"n\">%s", graded[r, stage[c]] ? points[r, stage[c]] : "" > html
        printf "<td class=\"n\"><b>%d</b><td>%s\n", total[r], escape(note[r]) > html
    }
    print "</table></div>\n<h2>What fails most often</h2>" > html
    print "<div class=\"scroll\"><table><tr><th class=\"n\">fail<th class=\"n\">of<th>test<th>" > html
    for (i = 1; i <= tests && i <= 50 && failed[test[i]]; i++)
        printf "<tr><td class=\"n\">%d<td class=\"n\">%d<td>%s<td>%s\n", failed[test[i]], tried[test[i]],
            test[i], escape(title[test[i]]) > html
    print "</table></div></html>" > html
}
