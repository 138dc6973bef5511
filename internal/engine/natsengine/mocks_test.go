package natsengine_test

import (
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"eureka"
	"eureka/internal/engine/natsengine"
	"eureka/internal/porttest"
)

func mocksOf(nodes []*node) (all []eureka.Mocks) {
	for _, n := range nodes {
		all = append(all, n.engine.Mocks())
	}
	return all
}

func TestMocksEmbedded(t *testing.T) {
	porttest.Mocks(t, func(t *testing.T) []eureka.Mocks {
		return mocksOf([]*node{openNode(t, natsengine.Options{DataDir: t.TempDir()})})
	})
}

func TestMocksExternal(t *testing.T) {
	s := natsengine.StartServer(t, t.TempDir())
	open := openOn([]*server.Server{s, s}, 1)
	porttest.Mocks(t, func(t *testing.T) []eureka.Mocks { return mocksOf(open(t)) })
}
