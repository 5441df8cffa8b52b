# Says whether the five models of the toy experiment come in the paper's order: reads the CSV of
# ttt eval --by-token --csv, prints means, paired differences and the verdict, and writes the numbers by
# token index, one line an index, to the file `data`: the loss of each model, then what each but the
# bigram is better by, all with standard errors. A number that is missing is an error.
# `bytes` and `tokens`: of the texts, for the losses of a byte.
#   awk -v data=FILE -v bytes=N -v tokens=N -f launch/toy_order.awk FILE.csv
BEGIN {
    FS = ","
    chunk = 16 # of e2e-16
    models = split("bigram naive e2e-16 e2e-1 attention", run, " ") # from the worst to the best
    split("bigram:TTT-naive:TTT-E2E, b = 16:TTT-E2E, b = 1:attention", name, ":")
    order = "attention <= E2E b = 1 < E2E b = 16 < naive < bigram"
}

FNR == 1 {
    for (i = 1; i <= NF; i++) column[$i] = i
    split("model,bin_start,bin_end,mean,standard_error,count,context", needed, ",")
    for (i in needed) if (!(needed[i] in column)) die("the CSV has no column " needed[i])
    next
}

{
    key = $column["model"] "," $column["bin_start"] "," $column["bin_end"]
    mean[key] = $column["mean"]
    error[key] = $column["standard_error"]
    count[key] = $column["count"]
    context = $column["context"]
}

END {
    if (failed) exit 1
    all = "0," context
    for (i = 0; i < context; i++) print i curves(i "," (i + 1)) >data
    close(data)
    if (!(bytes > 0 && tokens > 0)) die("how many bytes and tokens do the texts have?")
    printf "nats per token ± standard error over %d windows of %d tokens; per byte, of which a token has " \
        "%.3f\n\n", value(count, "bigram," all), context, bytes / tokens
    for (m = models; m >= 1; m--)
        printf "%-36s%s%s\n", name[m], number("%.4f", run[m] "," all), per_byte("%11.4f", run[m] "," all)
    print "\nbetter by, on the same windows ± standard error, paired by window; per byte\n"
    holds = 1
    for (m = models; m > 1; m--) holds = compare(m, m - 1) && holds
    printf "\nTTT-E2E, b = %d, is better than the bigram by %.4f at the first four tokens after a step, " \
        "by %.4f at the last four before the next\n", chunk, tooth(0), tooth(chunk - 4)
    printf "the paper's order, %s, %s (at two standard errors)\n", order, \
        holds ? "holds" : "does not hold"
}

function die(message) {
    print "toy_order.awk: " message >"/dev/stderr"
    failed = 1
    exit 1
}

function value(table, key) {
    if (!(key in table)) die("no line model,bin_start,bin_end = " key)
    if (table[key] !~ /^-?[0-9]+(\.[0-9]+)?(e[-+]?[0-9]+)?$/) die(key ": '" table[key] "' is no number")
    return table[key] + 0
}

# "   1.6564 ±0.0045", 16 wide on a screen whatever awk takes for a character.
function number(format, key,    of_error) {
    of_error = sprintf("%.4f", value(error, key))
    return sprintf("%" (14 - length(of_error)) "s ±%s", sprintf(format, value(mean, key)), of_error)
}

function per_byte(format, key) {
    return sprintf(format, value(mean, key) * tokens / bytes)
}

function curve(key) {
    return sprintf(" %.6f %.6f", value(mean, key), value(error, key))
}

function curves(bin,    text, m) {
    for (m = 1; m <= models; m++) text = text curve(run[m] "," bin)
    for (m = 2; m <= models; m++) text = text curve("bigram - " run[m] "," bin)
    return text
}

# Whether the one of the two models is better than the other, as in the paper: by more than two
# standard errors. Attention and b = 1 may be equal.
function compare(better, worse,    key, errors, right) {
    key = run[worse] " - " run[better] "," all
    if (!value(error, key)) die(key ": a standard error of 0")
    errors = value(mean, key) / value(error, key)
    right = errors > (run[better] == "attention" ? -2 : 2)
    printf "%-36s%s%s   %s in the paper\n", name[better] ", than " name[worse], number("%+.4f", key), \
        per_byte("%+11.4f", key), right ? "as" : "NOT as"
    return right
}

# What b = 16 is better than the bigram by, on average over the four indices of chunks from `first`
# on, the first chunk left out.
function tooth(first,    sum, indices, i) {
    for (i = chunk; i < context; i++)
        if (i % chunk >= first && i % chunk < first + 4) {
            sum += value(mean, "bigram - e2e-16," i "," (i + 1))
            indices++
        }
    return sum / indices
}
