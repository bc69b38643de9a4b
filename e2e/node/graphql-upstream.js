// The GraphQL API behind a guard, made by real servers: KIND is apollo or yoga.
// It prints its own URL and that of a page which tells, once, what was asked of
// it: for each call the bodies or URLs, and the root fields that were executed.
import { createServer } from "node:http";
import { ApolloServer } from "@apollo/server";
import { startStandaloneServer } from "@apollo/server/standalone";
import { createSchema, createYoga } from "graphql-yoga";

let asked = [];
const executed = (field, answer) => (_, args) => {
  asked.push(field);
  return answer(args);
};
const users = [
  { __typename: "User", id: "1", name: "Ada", email: "ada@example.com" },
  { __typename: "User", id: "2", name: "Grace", email: "grace@example.com" },
];
const typeDefs = `
  type Query { me: User!  users(first: Int): [User!]!  node(id: ID!): Node  echo(text: String!): String!  secrets: [String!]! }
  type Mutation { createUser(name: String!): User! }
  type Subscription { ticks(count: Int!): Int! }
  interface Node { id: ID! }
  type User implements Node { id: ID!  name: String!  email: String! }
`;
const resolvers = {
  Query: {
    me: executed("Query.me", () => users[0]),
    users: executed("Query.users", ({ first }) => users.slice(0, first ?? users.length)),
    node: executed("Query.node", ({ id }) => users.find((u) => u.id === id)),
    echo: executed("Query.echo", ({ text }) => text),
    secrets: executed("Query.secrets", () => ["canary"]),
  },
  Mutation: { createUser: executed("Mutation.createUser", ({ name }) => ({ __typename: "User", id: "3", name, email: "new@example.com" })) },
  Subscription: {
    ticks: {
      async *subscribe(_, { count }) {
        asked.push("Subscription.ticks");
        for (let i = 1; i <= count; i++) yield { ticks: i };
      },
    },
  },
};

async function serve(kind) {
  if (kind === "apollo") {
    // It executes GraphQL at every path.
    const server = new ApolloServer({ typeDefs, resolvers, allowBatchedHttpRequests: true, introspection: true });
    const { url } = await startStandaloneServer(server, { listen: { host: "127.0.0.1", port: 0 } });
    return url;
  }
  const yoga = createYoga({ schema: createSchema({ typeDefs, resolvers }), batching: true, logging: false });
  return listen(createServer(yoga));
}

const listen = (server) =>
  new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(`http://127.0.0.1:${server.address().port}/`)));

const url = await serve(process.env.KIND);
const log = await listen(
  createServer((_, answer) => {
    answer.end(JSON.stringify(asked));
    asked = [];
  }),
);
console.log(`${url} ${log}`);
