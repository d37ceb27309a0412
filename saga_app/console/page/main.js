// Creates the parts of the page. Imported once the plan is known.

import { router } from "./core/router.js";
import { drawer } from "./drawer/drawer.js";
import { errors } from "./errors/errors.js";
import { live } from "./live/live.js";
import { order } from "./order/order.js";
import { announce } from "./shell/announcer.js";
import { connection } from "./shell/connection.js";
import { filter } from "./shell/department_filter.js";
import { options } from "./shell/more_options.js";
import { keys } from "./shell/shortcuts.js";
import { figures } from "./shell/stats.js";
import { trace } from "./shell/trace_switch.js";
import { load } from "./stream/sync.js";
import { system } from "./system/system.js";
import { newUsers } from "./users/new_users.js";
import { users } from "./users/users.js";

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
