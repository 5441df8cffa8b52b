# Loss by position, from the CSV of `ttt eval --by-position --csv`:
#   gnuplot -e "csv='in.csv'; png='out.png'" launch/plot_loss_by_position.gp
# A bin stands at the middle of its positions; bars are one standard error. Lines of whole windows
# are left out.
set terminal pngcairo size 1200,800 enhanced font "sans,18" background rgb "white"
set output png
set datafile separator ","

set title "Loss on unseen books, by how much of the window was already read" font ",20"
set xlabel "position in the window (bytes, logarithmic)"
set ylabel "nats per byte"
set logscale x 2
set xtics nomirror out
set ytics nomirror out
set border 3 linewidth 1.5
set grid xtics ytics linetype 1 linewidth 1 linecolor rgb "#e4e4e4"
set rmargin 4
set key top right reverse Left samplen 3 spacing 1.3 height 0.5
set offsets graph 0.03, graph 0.03, graph 0.08, graph 0.05

middle(first, last) = 0.5 * (first + last)
loss(name) = stringcolumn(1) eq name && column(3) - column(2) < column(7) ? column(4) : NaN

plot csv using (middle($2, $3)):(loss("swa")):5 skip 1 \
         with yerrorlines linewidth 2.5 pointtype 9 pointsize 1.6 linecolor rgb "#7f7f7f" \
         title "SWA, as many parameters", \
     csv using (middle($2, $3)):(loss("e2e-off")):5 skip 1 \
         with yerrorlines linewidth 2.5 pointtype 5 pointsize 1.4 linecolor rgb "#e08214" \
         title "TTT-E2E, inner steps off", \
     csv using (middle($2, $3)):(loss("e2e")):5 skip 1 \
         with yerrorlines linewidth 3 pointtype 7 pointsize 1.5 linecolor rgb "#2166ac" \
         title "TTT-E2E"
