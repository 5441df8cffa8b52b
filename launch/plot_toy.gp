# Loss by token index, from the CSV of `ttt eval --by-token --csv`:
#   gnuplot -e "csv='in.csv'; png='out.png'" launch/plot_toy.gp
# Each point is one index; the bands are one standard error to both sides. Grid lines stand where
# chunks of 16 begin.
set terminal pngcairo size 1200,800 enhanced font "sans,18" background rgb "white"
set output png
set datafile separator ","

set title "Two blocks, 128 bytes of context: loss on unseen books by token index" font ",20"
set xlabel "token index"
set ylabel "nats per byte"
set xrange [0:127]
set xtics 16 nomirror out
set ytics nomirror out
set border 3 linewidth 1.5
set grid xtics ytics linetype 1 linewidth 1 linecolor rgb "#e4e4e4"
set rmargin 4
set key outside bottom center horizontal samplen 3 spacing 1.3 width 1
set offsets graph 0, graph 0, graph 0.03, graph 0.03

array name[5] = ["bigram", "naive", "e2e-16", "e2e-1", "attention"]
array color[5] = ["#7f7f7f", "#e08214", "#1b7837", "#2166ac", "#b2182b"]
array label[5] = ["bigram", "TTT-naive", "TTT-E2E, b = 16", "TTT-E2E, b = 1", "attention"]
of(i, value) = stringcolumn(1) eq name[i] ? value : NaN
set style fill transparent solid 0.2 noborder

plot for [i = 1:5] csv using 2:(of(i, column(4) - column(5))):(of(i, column(4) + column(5))) skip 1 \
         with filledcurves linecolor rgb color[i] notitle, \
     for [i = 1:5] csv using 2:(of(i, column(4))) skip 1 \
         with lines linewidth 2.5 linecolor rgb color[i] title label[i]
