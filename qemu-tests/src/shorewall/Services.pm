# Services by name out of the file that $LAB_SERVICES names, in place of the host's own: a bare
# host has no /etc/services, and its entries may be others than the release's.
package Services;
use strict;
use warnings;

my %port;

BEGIN {
    open my $file, '<', $ENV{LAB_SERVICES} or die "$ENV{LAB_SERVICES}: $!\n";
    while (my $line = <$file>) {
        $line =~ s/#.*//;
        my ($name, $place, @aliases) = split ' ', $line;
        next unless defined $place;
        my ($number, $protocol) = split m{/}, $place;
        $port{"$_/$protocol"} //= $number for $name, @aliases;
    }
    *CORE::GLOBAL::getservbyname = sub { $port{"$_[0]/$_[1]"} };
}

1;
