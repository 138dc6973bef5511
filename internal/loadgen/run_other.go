//go:build !linux

package loadgen

import (
	"context"
	"runtime"

	"eureka"
)

// Run loads the service as the options say. On this system it cannot: it needs epoll. CodeUnavailable.
func Run(_ context.Context, o Options) (Report, error) {
	if err := o.Validate(); err != nil {
		return Report{}, err
	}
	return Report{}, eureka.Errorf(eureka.CodeUnavailable, "the load generator needs Linux (epoll); this is %s", runtime.GOOS)
}
