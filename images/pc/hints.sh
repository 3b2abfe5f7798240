# Whoever sits down at a terminal is told what there is to do.
if [ -t 1 ] && [ -r ~/.hints ]; then cat ~/.hints; fi
