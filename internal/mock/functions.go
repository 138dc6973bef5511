package mock

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"text/template"
	"time"

	"github.com/google/uuid"
)

// toJSON is the function that ends each action that is a whole value. Templates cannot name it: repeated, it makes texts longer and longer.
const toJSON = "toJSON"

// names are what templates may call: the functions below, and those of text/template that compare.
var names = []string{"and", "eq", "float", "ge", "gt", "int", "le", "lt", "mod", "ne", "not", "now", "or", "pick", "seq", "time", "uuid"}

// source is where the values of templates come from.
type source struct {
	random *rand.ChaCha8
	n      int
	now    func() time.Time
}

func newSource(seed uint64) *source {
	if seed == 0 {
		seed = rand.Uint64() //nolint:gosec // sample data
	}
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	return &source{random: rand.NewChaCha8(key), now: time.Now}
}

func (s *source) functions() template.FuncMap {
	return template.FuncMap{
		"seq":   func() int64 { return int64(s.n) },
		"now":   func() int64 { return s.now().UnixMilli() },
		"time":  func() string { return s.now().UTC().Format("2006-01-02T15:04:05.000Z") },
		"uuid":  s.uuid,
		"int":   s.integer,
		"float": s.float,
		"mod":   modulo,
		"pick":  s.pick,
		toJSON:  encode,
	}
}

func (s *source) uuid() (string, error) {
	id, err := uuid.NewRandomFromReader(s.random)
	return id.String(), err
}

// integer is a number from low to high, both included.
func (s *source) integer(low, high int64) (int64, error) {
	if low > high {
		return 0, errors.New("the first number of int must not be greater than the second")
	}
	span := uint64(high) - uint64(low) //nolint:gosec // wraps around as it should
	if span == math.MaxUint64 {
		return int64(s.random.Uint64()), nil //nolint:gosec // any number will do
	}
	return int64(uint64(low) + rand.New(s.random).Uint64N(span+1)), nil //nolint:gosec // likewise
}

// float is a number from low to high with two decimals.
func (s *source) float(low, high float64) (float64, error) {
	if !(low <= high) || math.Abs(low) > 1e12 || math.Abs(high) > 1e12 {
		return 0, errors.New("the numbers of float must be up to 1e12, and the first not greater than the second")
	}
	return math.Round((low+rand.New(s.random).Float64()*(high-low))*100) / 100, nil //nolint:gosec // sample data
}

func modulo(n, by int64) (int64, error) {
	if by <= 0 {
		return 0, errors.New("the second number of mod must be greater than 0")
	}
	return n % by, nil
}

// pick is one of the values.
func (s *source) pick(values ...any) (any, error) {
	if len(values) == 0 {
		return nil, errors.New("pick needs a value")
	}
	return values[rand.New(s.random).IntN(len(values))], nil //nolint:gosec // sample data
}

func encode(v any) (string, error) {
	text, err := json.Marshal(v)
	return string(text), err
}
