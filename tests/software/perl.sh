# perl: files, processes, signals, sockets, sorting, regular expressions.
#@ needs=perl
perl -we '
use strict; use Socket; use POSIX ":sys_wait_h"; use File::Temp "tempfile"; use Fcntl ":flock"; use IO::Select; use Time::HiRes "sleep";
$| = 1;
print join(",", sort { $a <=> $b } map { $_ * 7 % 31 } 1 .. 20), "\n";
my %count; $count{$_}++ for split //, "hello world"; print map { "$_$count{$_}" } sort keys %count; print "\n";
my ($fh, $name) = tempfile(DIR => "."); print $fh "line $_\n" for 1 .. 5; close $fh;
open my $in, "<", $name or die; my @lines = <$in>; close $in; print scalar @lines, " $lines[4]";
open my $l, ">>", $name or die; print flock($l, LOCK_EX | LOCK_NB) ? "locked\n" : "not locked\n";
pipe my $r, my $w; my $pid = fork; if (!$pid) { close $r; print $w "from child\n"; exit 3 } close $w; print scalar <$r>; waitpid $pid, 0; print $? >> 8, "\n";
$SIG{ALRM} = sub { print "alarm\n" }; alarm 1; select undef, undef, undef, 3;
local $SIG{CHLD} = sub { 1 while waitpid(-1, WNOHANG) > 0 };
socketpair(my $left, my $right, AF_UNIX, SOCK_STREAM, PF_UNSPEC) or die; syswrite $left, "ping"; sysread $right, my $got, 10; print "$got\n";
print join(" ", map { sprintf "%03o", (stat $_)[2] & 0777 } $name), "\n";
print `echo from a shell`; print system("sh", "-c", "exit 5") >> 8, "\n";
print "matched $1-$2\n" if "2024-05-06" =~ /(\d+)-(\d+)/; (my $s = "aXbXc") =~ s/X/-/g; print "$s\n";
my @sorted = map { $_->[1] } sort { $a->[0] <=> $b->[0] } map { [length, $_] } qw(ccc a bb); print "@sorted\n";
socket(my $server, PF_INET, SOCK_STREAM, 0) or die; bind $server, sockaddr_in(0, INADDR_LOOPBACK) or die $!; listen $server, 5; my ($port) = sockaddr_in(getsockname $server);
if (!fork) { socket my $c, PF_INET, SOCK_STREAM, 0; connect $c, sockaddr_in($port, INADDR_LOOPBACK) or die $!; syswrite $c, "over tcp\n"; exit 0 }
accept my $client, $server; print scalar <$client>; wait;
printf "%s %d\n", crypt("x", "ab") ? "crypt" : "no", length(join "", map { chr(rand 256) } 1 .. 100);
opendir my $d, "/etc" or die; print grep({ $_ eq "passwd" } readdir $d) ? "etc\n" : "none\n";
'
