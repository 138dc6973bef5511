package simulator

import (
	"crypto/rand"
	"encoding/base32"
	"sync"

	"eureka/internal/edge/simulator/lambda"
	"eureka/internal/edge/simulator/sigv4"
)

// The credentials of the person at the simulator. They are no secret: whoever reaches its loopback port may use them.
const (
	UserKeyID  = "AKIAEUREKASIMULATOR0" //nolint:gosec // see above
	UserSecret = "eureka-simulator"
)

// keyring has the access keys that the simulated account knows: the user's and one for each process of a function.
type keyring struct {
	mu   sync.Mutex
	keys map[string]sigv4.Key
}

func newKeyring() *keyring {
	return &keyring{keys: map[string]sigv4.Key{
		UserKeyID: {ID: UserKeyID, Secret: UserSecret, ARN: "arn:aws:iam::" + account + ":user/simulator"},
	}}
}

func (k *keyring) find(id string) (sigv4.Key, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	key, ok := k.keys[id]
	return key, ok
}

// issue makes the credentials of a process of a role; the function that it returns takes them back.
func (k *keyring) issue(role string, p *lambda.Process) (lambda.Credentials, func()) {
	c := lambda.Credentials{ID: "ASIA" + random(16), Secret: random(40), Token: random(64)}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys[c.ID] = sigv4.Key{ID: c.ID, Secret: c.Secret, Token: c.Token, ARN: "arn:aws:sts::" + account + ":assumed-role/" + role + "/simulator", Owner: p}
	return c, func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.keys, c.ID)
	}
}

// random returns n capital letters and digits.
func random(n int) string {
	b := make([]byte, (n*5+7)/8)
	_, _ = rand.Read(b) // it never fails
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b)[:n]
}
