#@ needs=python3
#@ prepare=python3 $SOFTWARE/short_elf.py
# A program whose file ends before its data does, in the same page: what is missing reads as zeroes. Again and again, since what is known of a file changes how it is mapped.
for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
  ./short
  echo "$i: $?"
done
