# The table of a class. Reads lines `name,stage,test,status,points,max,"title"` (scripts/format
# csv with a name in front) and writes the files csv and html.

function escape(s) {
    gsub(/&/, "\\&amp;", s)
    gsub(/</, "\\&lt;", s)
    return s
}

!($1 in row) {
    row[$1] = ++rows
    name[rows] = $1
}

$2 == "" {
    note[$1] = $4
    next
}

{
    if (!($2 in column)) {
        column[$2] = ++columns
        stage[columns] = $2
    }
    points[$1, $2] += $5
    graded[$1, $2] = 1
    total[$1] += $5
    if (!($3 in title)) {
        title[$3] = $7
        for (i = 8; i <= NF; i++)
            title[$3] = title[$3] "," $i
        gsub(/^"|"$/, "", title[$3])
        gsub(/""/, "\"", title[$3])
        test[++tests] = $3
    }
    tried[$3]++
    if ($4 != "pass" && $4 != "skip")
        failed[$3]++
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
        printf "%s", name[r] > csv
        for (c = 1; c <= columns; c++)
            printf ",%s", graded[name[r], stage[c]] ? points[name[r], stage[c]] : "" > csv
        printf ",%d,%s\n", total[name[r]], note[name[r]] > csv
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
            printf "<td class=\"n\">%s", graded[name[r], stage[c]] ? points[name[r], stage[c]] : "" > html
        printf "<td class=\"n\"><b>%d</b><td>%s\n", total[name[r]], escape(note[name[r]]) > html
    }
    print "</table></div>\n<h2>What fails most often</h2>" > html
    print "<div class=\"scroll\"><table><tr><th class=\"n\">fail<th class=\"n\">of<th>test<th>" > html
    for (i = 1; i <= tests && i <= 50 && failed[test[i]]; i++)
        printf "<tr><td class=\"n\">%d<td class=\"n\">%d<td>%s<td>%s\n", failed[test[i]], tried[test[i]],
            test[i], escape(title[test[i]]) > html
    print "</table></div></html>" > html
}
