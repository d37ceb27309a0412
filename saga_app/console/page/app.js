// Where the page begins: the parts are put together here, and nowhere else.

import { announce } from "./announce.js";
import { connection } from "./connection.js";
import { drawer } from "./drawer.js";
import { errors } from "./errors.js";
import { figures } from "./figures.js";
import { filter } from "./filter.js";
import { keys } from "./keys.js";
import { live } from "./live.js";
import { newUsers } from "./newusers.js";
import { options } from "./options.js";
import { order } from "./order.js";
import { router } from "./router.js";
import { load } from "./session.js";
import { system } from "./system.js";
import { trace } from "./trace.js";
import { users } from "./users.js";

newUsers();
options();
trace();
filter();
figures();
connection();
announce();
router({ live: live(), users: users(), errors: errors(), order: order(), system: system() }, drawer());
keys();
load();
