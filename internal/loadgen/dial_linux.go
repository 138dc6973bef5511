package loadgen

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"eureka"
)

// portsPerAddress is how many sockets leave from one loopback address before the next is used. About 28,000 ports are free on each, but the
// kernel looks for a free one by trial, which takes most of the time when many are in use.
const portsPerAddress = 1000

// dialer opens sockets to one address without waiting for them.
type dialer struct {
	to      netip.AddrPort
	spread  bool // leave from many loopback addresses
	network byte // of those, the second byte; another one for each run
}

// newDialer finds the address of HOST:PORT and checks that somebody listens there.
func newDialer(ctx context.Context, host string) (d dialer, err error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", host)
	if err != nil {
		return d, unreachable(err, host)
	}
	defer func() { _ = conn.Close() }()
	to, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return d, unreachable(err, host)
	}
	d.to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	d.spread = d.to.Addr().Is4() && d.to.Addr().IsLoopback()
	d.network = byte(1 + rand.IntN(254)) //nolint:gosec // so that two generators rarely meet
	return d, nil
}

// check says whether so many sockets can be had.
func (d dialer) check(sockets int) error {
	if !d.spread && sockets > 28_000 {
		return eureka.FieldError("sockets", "about 28000 can leave from one address; more need a service on 127.0.0.1, or several generators")
	}
	return nil
}

// dial begins to connect socket number i.
func (d dialer) dial(i int) (fd int, err error) {
	family, to := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Addr: four(d.to.Addr()), Port: int(d.to.Port())})
	if d.to.Addr().Is6() {
		family, to = unix.AF_INET6, &unix.SockaddrInet6{Addr: d.to.Addr().As16(), Port: int(d.to.Port())}
	}
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, err
	}
	if err = d.prepare(fd, i); err == nil {
		if err = unix.Connect(fd, to); errors.Is(err, unix.EINPROGRESS) {
			err = nil
		}
	}
	if err != nil {
		_ = unix.Close(fd) // nothing was sent
		return -1, err
	}
	return fd, nil
}

func (d dialer) prepare(fd, i int) error {
	// Closing with a reset leaves no port behind in TIME_WAIT, and is how sockets end whose network goes away.
	if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		return err
	}
	if !d.spread {
		return nil
	}
	// The port is chosen when the socket connects, so that one that is used to another address counts as free.
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
		return err
	}
	from := i / portsPerAddress
	return unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, d.network, byte(from >> 8), byte(from)}}) //nolint:gosec // taken apart
}

func four(a netip.Addr) [4]byte {
	if a.Is4() {
		return a.As4()
	}
	return [4]byte{}
}

// spareFiles are descriptors beside the sockets: publishers, epoll, standard streams.
const spareFiles = 64

// raiseFiles makes sure that so many files can be open. The limit is raised as far as it may: to the hard one, and beyond with the right to.
func raiseFiles(need int) error {
	need += spareFiles
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return eureka.WrapError(eureka.CodeInternal, err, "the limit of open files cannot be read")
	}
	want := uint64(need) //nolint:gosec // not negative
	if limit.Cur >= want {
		return nil
	}
	raised := syscall.Rlimit{Cur: want, Max: max(want, limit.Max)}
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised) == nil {
		return nil
	}
	return eureka.FieldError("sockets", "%d open files are needed and the limit is %d: raise it with `ulimit -n`, or ask for at most %s sockets",
		need, limit.Max, strconv.Itoa(max(int(limit.Max)-spareFiles, 0))) //nolint:gosec // a limit
}
