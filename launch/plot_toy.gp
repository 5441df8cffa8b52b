# Loss by token index, from what launch/toy_order.awk writes:
#   gnuplot -e "data='in.txt'; png='out.png'" launch/plot_toy.gp
# Each point is one index, and bands are one standard error to both sides. Grid lines stand where
# chunks of 16 begin. What is better or worse than the bigram is paired by window, so how hard the
# texts are at an index cancels, and steps show.
set terminal pngcairo size 1800,900 enhanced font "sans,18" background rgb "white"
set output png
set xlabel "token index"
set xrange [0:127]
set xtics 16 nomirror out
set ytics nomirror out
set border 3 linewidth 1.5
set grid xtics ytics linetype 1 linewidth 1 linecolor rgb "#e4e4e4"
set key outside bottom center horizontal samplen 3 spacing 1.3 width 1
set style fill transparent solid 0.2 noborder
array color[5] = ["#7f7f7f", "#e08214", "#1b7837", "#2166ac", "#b2182b"]
array name[5] = ["bigram", "TTT-naive", "TTT-E2E, b = 16", "TTT-E2E, b = 1", "attention"]

set multiplot layout 1,2 title "Two blocks, 128 tokens of context: unseen books by token index" font ",20"
set title "loss"
set ylabel "nats per token"
plot for [i = 1:5] data using 1:(column(2 * i) - column(2 * i + 1)):(column(2 * i) + column(2 * i + 1)) \
         with filledcurves linecolor rgb color[i] notitle, \
     for [i = 1:5] data using 1:(column(2 * i)) with lines linewidth 2.5 linecolor rgb color[i] \
         title name[i]

set title "better than the bigram by, of those near it"
set ylabel "nats per token, paired by window"
gain(i) = 10 + 2 * (i - 1)
plot 0 with lines linewidth 2 linecolor rgb color[1] title name[1], \
     for [i = 2:3] data using 1:(column(gain(i)) - column(gain(i) + 1)):(column(gain(i)) + column(gain(i) + 1)) \
         with filledcurves linecolor rgb color[i] notitle, \
     for [i = 2:3] data using 1:(column(gain(i))) with lines linewidth 2.5 linecolor rgb color[i] \
         title name[i]
unset multiplot
